"""A folder in which `python -m stages.train` runs on a tiny model, and the processes that it becomes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
from dvc.utils.serialize import modify_yaml

from ollamake.files import sha256, write_json
from ollamake.labels import IGNORE_INDEX
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.contract.graph import ROOT
from tests.training import TINY

STAGE = (sys.executable, "-m", "stages.train")
PATIENCE_SECONDS = 240


def lay_out(folder: Path, base: Path, rows: int = 9, **changes: object) -> Path:
    """Write the parameters, the base model and so many tokenized rows of different lengths; return `folder`."""
    for name in ("params.yaml", "pins.yaml"):
        folder.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    with modify_yaml(str(folder / "params.yaml")) as content:
        content.update({**TINY, **changes})
    files = {file.name: sha256(file) for file in base.iterdir()}
    write_json(folder / "models/base.json", {"name": "tiny", "key": "tiny", "files": files})
    (folder / ".ollamake/base").mkdir(parents=True)
    (folder / ".ollamake/base/tiny").symlink_to(base)
    for path in (train.TRAIN, train.VAL):
        write_tokens(folder / path, [_row(number) for number in range(rows)])
    write_packs(folder / train.PACKS, [])
    return folder


def _row(number: int) -> dict[str, object]:
    ids = [100 + (number * 31 + place * 7) % 900 for place in range(8 + number * 5 % 11)]
    supervised = len(ids) // 2
    return {"id": str(number), "input_ids": ids, "labels": [IGNORE_INDEX] * supervised + ids[supervised:]}


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """Start the stage in `folder`, or `command`; what it says goes to the file `said` there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "PYTEST_"))}
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            command or STAGE, cwd=folder, env={**kept, **paths, **environment}, stdout=said, stderr=subprocess.STDOUT
        )


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for the end of a stage and return its exit code."""
    return process.wait(PATIENCE_SECONDS)


def said(folder: Path) -> str:
    """Return what the stage said, without what libraries say of other machines."""
    return (folder / "said").read_text()


def ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that the stage has started, in the order of their ranks."""
    return sorted(psutil.Process(process.pid).children(), key=lambda child: int(child.environ()["RANK"]))


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Return when the log of the training in `folder` has come to a step."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (steps := series(folder, "train_loss")) or max(steps) < step:
        assert process.poll() is None, said(folder)
        assert time.monotonic() < end, said(folder)
        time.sleep(0.02)


def series(folder: Path, name: str) -> dict[int, float]:
    """Return the values of a curve by step, none where the file is not there."""
    path = folder / train.PLOTS / f"metrics/{name}.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]] if path.exists() else []
    return {int(step): float(value) for step, value in filter(lambda parts: len(parts) == 2, lines)}


def adapter(folder: Path) -> bytes:
    """Return the bytes of the trained weights."""
    return (folder / train.TUNED / "adapter_model.safetensors").read_bytes()
