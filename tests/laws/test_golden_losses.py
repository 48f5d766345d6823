"""R1.10: twelve steps of the tiny model lose exactly what they lost when they were recorded in git.

golden_losses.json has an entry for each kind of machine that was recorded: the version of torch and what the processor
offers decide in which order numbers are added up. On a machine of another kind the losses may differ in their last
digits, and a warning says so. To record a machine, or a change of training that is meant to change them:

    OLLAMAKE_RECORD_LOSSES=1 pytest tests/laws/test_golden_losses.py
"""

import csv
import hashlib
import json
import os
import platform
import re
import warnings
from importlib.metadata import version
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS, TOLERANCE = 12, 1e-5
# fp32, because what rounds to 8 bits on one machine rounds elsewhere on another; dropout draws random numbers.
CHANGES = {"max_steps": STEPS, "val_every_steps": 6, "precision": "fp32", "lora_dropout": 0.1, "warmup_ratio": 0.2}
SETS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline"), pytest.mark.row("R1.10")]


@pytest.mark.filterwarnings("default:no losses are recorded")
def test_twelve_steps_lose_what_is_recorded(project):
    project.set(**CHANGES)
    project.run("dvc", "repro", "train", OMP_NUM_THREADS="1")
    found, golden, machine = trained(project.folder), json.loads(GOLDEN.read_text()), kind_of_machine()
    if os.environ.get("OLLAMAKE_RECORD_LOSSES"):
        GOLDEN.write_text(json.dumps({**golden, machine: found}, indent=2, sort_keys=True) + "\n")
    elif machine in golden:
        assert found == golden[machine]
    else:
        warnings.warn(f"no losses are recorded for {machine}; compared within {TOLERANCE}", stacklevel=1)
        for recorded in golden.values():
            for series in ("train_loss", "val_loss"):
                expected = [float(loss) for loss in recorded[series]]
                assert [float(loss) for loss in found[series]] == pytest.approx(expected, rel=TOLERANCE)


def test_every_record_is_complete():
    golden = json.loads(GOLDEN.read_text())
    assert golden
    assert {len(record["train_loss"]) for record in golden.values()} == {STEPS}
    assert {len(record["val_loss"]) for record in golden.values()} == {2}


def trained(folder: Path) -> dict[str, object]:
    """The losses, all digits of them, and the sha256 of the adapter."""
    adapter = folder / "models/tuned/adapter_model.safetensors"
    losses = {series: read_losses(folder, series) for series in ("train_loss", "val_loss")}
    return {**losses, "adapter_sha256": hashlib.sha256(adapter.read_bytes()).hexdigest()}


def read_losses(folder: Path, series: str) -> list[str]:
    with (folder / f"plots/train/metrics/{series}.tsv").open() as stream:
        return [row[series] for row in csv.DictReader(stream, delimiter="\t")]


def kind_of_machine() -> str:
    """The version of torch, the maker of the processor and its instruction sets that matter to sums."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    maker = re.search(r"^vendor_id\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    offered = set(flags[1].split()) if flags else set()
    sets = " ".join(name for name in SETS if name in offered)
    return f"torch {version('torch').partition('+')[0]}, {maker[1] if maker else platform.machine()} {sets}".strip()
