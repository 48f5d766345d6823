"""What the laws compare by: every byte of a build's outputs but for what it measured of the machine."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.laws.outputs import different, outputs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


@pytest.fixture
def copy(built, tmp_path) -> Path:
    """The outputs, to be written to."""
    for name in ("data", "metrics", "models", "plots"):
        shutil.copytree(built.folder / name, tmp_path / name)
    return tmp_path


def rewrite(path: Path, pattern: str, text: str) -> None:
    content, found = re.subn(pattern, text, path.read_text(), count=1)
    assert found == 1
    path.unlink()  # it may be read-only
    path.write_text(content)


def test_other_times_and_speeds_make_no_difference(copy):
    before = outputs(copy)
    speed = json.loads((copy / "metrics/convert.json").read_text())["Q8_0"]["tokens_per_second"]
    rewrite(copy / "models/report.md", rf"\| {speed:,.0f} \|", "| 7 |")
    rewrite(copy / "models/report.html", rf">{speed:,.0f}</td>", ">7</td>")
    rewrite(copy / "metrics/convert.json", rf'"tokens_per_second": {speed}\b', '"tokens_per_second": 7.0')
    rewrite(copy / "metrics/train.json", r'"seconds": [0-9.]+', '"seconds": 99.5')
    rewrite(copy / "plots/train/metrics/memory.tsv", r"\n1\t[0-9.]+", "\n1\t77.0")
    assert different(before, outputs(copy)) == []


def test_any_other_byte_makes_one(copy):
    before = outputs(copy)
    rewrite(copy / "models/report.md", r"\n## Scores", "\n## Score")
    rewrite(copy / "metrics/train.json", r'"steps": 3', '"steps": 4')
    rewrite(copy / "plots/train/metrics/memory.tsv", r"\n1\t", "\n9\t")
    (copy / "models/tuned/adapter_model.safetensors").unlink()
    (copy / "models/gguf/left-over").write_text("")
    assert different(before, outputs(copy)) == [
        "metrics/train.json",
        "models/gguf/left-over",
        "models/report.md",
        "models/tuned/adapter_model.safetensors",
        "plots/train/metrics/memory.tsv",
    ]
