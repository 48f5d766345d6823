"""Kills the train stage at random instants, starts it again, and compares what comes out with an undisturbed run.

python -m benchmarks.kills --kills 40            # SIGKILL, SIGTERM and SIGINT in turn; a tiny model with random weights

Each time the stage is started afresh, killed at an instant drawn uniformly from the time that the undisturbed run took,
from the start of Python to its end, and run again to the end. Like DVC, it finds no outputs when it starts.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from benchmarks import models
from benchmarks.workspace import ROOT, build_workspace

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ROWS, MEAN_TOKENS, LONGEST = 96, 24, 64
# Everything that a resume could get wrong: dropout, shuffling, accumulation, warm-up, validations, the best model.
CHANGES = {
    "checkpoint_seconds": 0,
    "gradient_accumulation_steps": 4,
    "keep_best": 2,
    "lora_dropout": 0.1,
    "max_length": LONGEST,
    "max_steps": 0,
    "num_epochs": 5,
    "per_device_batch_size": 2,
    "val_every_steps": 8,
    "val_samples": 0,
    "warmup_ratio": 0.2,
}
OUTPUTS = ("models/tuned", "models/checkpoints", "plots/train", "metrics/train.json")
CURVES = ("train_loss", "val_loss", "learning_rate", "gradient_norm")


@dataclass(frozen=True)
class Kill:
    """What became of one: what stood in the way of the same bytes, steps done and kept by then, seconds to its end."""

    number: int
    instant: float
    differs: list[str]
    done: int
    kept: int
    seconds: float
    code: int


def build(folder: Path, changes: Mapping[str, object]) -> Path:
    """Write a workspace for the train stage with a tiny model and made-up rows, and return `folder`."""
    model = folder.with_name(f"{folder.name}-base")
    subprocess.run([sys.executable, "-m", "benchmarks.models", "tiny", model], cwd=ROOT, check=True)
    rows = models.made_up_rows(ROWS, models.VOCABULARIES["tiny"], mean=MEAN_TOKENS, longest=LONGEST, supervised=0.5)
    tables = {"train": models.as_table(rows), "val": models.as_table(rows[: ROWS // 6])}
    return build_workspace(folder, model, models.record_of("tiny", model), tables, {**CHANGES, **changes})


def start(folder: Path, code: Path = ROOT) -> subprocess.Popen[str]:
    """Start the stage as DVC does: without outputs, in a group of its own; `code` holds the packages that it runs."""
    for name in OUTPUTS:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (folder / name).unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.train"],
        cwd=folder, env={**environment, "PYTHONPATH": str(code)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(folder: Path) -> str:
    """Run the stage to its end and return what it said. Raises RuntimeError when it fails."""
    with start(folder) as process:
        said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"the stage ended with {process.returncode}\n{said}")
    return said


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of what must be the same: the models and their index, and the curves of losses and steps."""
    files = [path for name in OUTPUTS[:2] for path in (folder / name).rglob("*") if path.is_file()]
    files += [folder / f"plots/train/metrics/{name}.tsv" for name in CURVES]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def kill(folder: Path, number: int, instant: float, reference: Mapping[str, str]) -> Kill | None:
    """Start the stage, kill it `instant` seconds later, run it again, and return what became of it.

    None when the stage had ended by then.
    """
    with start(folder) as process:
        time.sleep(instant)
        if process.poll() is not None:
            process.communicate()
            return None
        os.killpg(process.pid, number)
        struck = time.monotonic()
        process.communicate()
    seconds, done = time.monotonic() - struck, steps(folder)
    said = finish(folder)
    kept = re.search(r"going on from step ([\d,]+)", said)
    found = digests(folder)
    differs = sorted({name for name, digest in (found.items() ^ reference.items())})
    return Kill(
        number, instant, differs, done, int(kept[1].replace(",", "")) if kept else 0, seconds, process.returncode
    )


def steps(folder: Path) -> int:
    """Return how many steps the curves show."""
    curve = folder / "plots/train/metrics/train_loss.tsv"
    return max(len(curve.read_text(encoding="utf-8").splitlines()) - 1, 0) if curve.is_file() else 0


def table(kills: list[Kill]) -> str:
    """Return the results, one line a signal."""
    lines = [
        "| signal | kills | byte-equal | while training | steps lost (mean) | seconds to exit (median, longest) |",
        "|---|---|---|---|---|---|",
    ]
    for number in SIGNALS:
        of_it = [one for one in kills if one.number == number]
        if of_it:
            training = [one for one in of_it if one.done and one.code]
            lost = f"{fmean(max(one.done - one.kept, 0) for one in training):.1f}" if training else ""
            seconds = [one.seconds for one in of_it]
            lines.append(
                f"| {number.name} | {len(of_it)} | {sum(not one.differs for one in of_it)} | {len(training)} | {lost} "
                f"| {median(seconds):.1f}, {max(seconds):.1f} |"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1, help="of the instants")
    options = parser.parse_args()
    dice, kills = random.Random(options.seed), []  # noqa: S311 - it is no secret
    with TemporaryDirectory(prefix="ollamake-kills-") as scratch:
        folder = build(Path(scratch) / "workspace", {})
        finish(folder)
        began = time.monotonic()
        finish(folder)
        took, reference = time.monotonic() - began, digests(folder)
        print(f"undisturbed: {took:.1f} s, {steps(folder)} steps, {len(reference)} files", flush=True)
        while len(kills) < options.kills:
            one = kill(folder, SIGNALS[len(kills) % len(SIGNALS)], dice.uniform(0, took), reference)
            if one is None:
                took *= 0.9  # the undisturbed run was on a busier machine
                continue
            kills.append(one)
            verdict = f"differs: {', '.join(one.differs)}" if one.differs else "the same bytes"
            print(
                f"{len(kills)}: {signal.Signals(one.number).name} after {one.instant:.1f} s, at step {one.done}, exit "
                f"{one.code} after {one.seconds:.1f} s, went on from {one.kept}: {verdict}",
                flush=True,
            )
    print(table(kills))
    return int(any(one.differs for one in kills))


if __name__ == "__main__":
    sys.exit(main())
