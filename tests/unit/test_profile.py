"""A closer look at a training: the profile, the run that stops at a NaN, and how much memory it takes."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ollamake.errors import TrainingError
from ollamake.training import load
from ollamake.training.profile import stopping_at_nan
from stages import train
from tests.watched import points, run, write_rows


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_rows()
    return tmp_path


def test_the_first_operation_that_gives_nan_is_named():
    said = r"debug: Function 'SqrtBackward0' returned nan.*\nhint: .*learning_rate"
    with pytest.raises(TrainingError, match=said), stopping_at_nan():
        number = torch.zeros(1, requires_grad=True)
        (number.sqrt() * 0).backward()
    assert not torch.is_anomaly_enabled()


def test_other_failures_stay_what_they_are():
    with pytest.raises(RuntimeError, match="out of memory"), stopping_at_nan():
        raise RuntimeError("out of memory")


def test_the_peak_of_memory_counts_what_has_been_given_back():
    # In a process of its own: this one may have held more already.
    code = """
import torch
from ollamake.training.load import peak_memory_mb
before = peak_memory_mb(torch.device("cpu"))
bytearray(400_000_000)[::4096] = bytes(len(range(0, 400_000_000, 4096)))
print(before, peak_memory_mb(torch.device("cpu")))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, result.stdout.split())
    assert after > before + 100


def test_without_a_gpu_nothing_is_said_of_one():
    assert load.gpu_percent(torch.device("cpu")) == {}


@pytest.mark.slow
def test_a_profile_is_written_beside_an_unchanged_training(workspace, narrow_base):
    run(narrow_base)
    plain = (train.TUNED / "adapter_model.safetensors").read_bytes()
    (workspace / "held").rename(workspace / "old")
    run(narrow_base, profile=True)
    assert (train.TUNED / "adapter_model.safetensors").read_bytes() == plain
    (folder,) = Path("logs").glob("profile-*")
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    steps = {event["name"] for event in trace["traceEvents"] if event["name"].startswith("ProfilerStep#")}
    assert len(steps) == 3
    assert "aten::mm" in (folder / "time.txt").read_text()
    assert re.match(r"at most [\d,]+ MB so far\n", (folder / "memory.txt").read_text())


@pytest.mark.slow
def test_a_training_too_short_for_a_profile_ends_all_the_same(workspace, narrow_base):
    assert run(narrow_base, profile=True, max_steps=1)["steps"] == 1
    assert not list(Path("logs").glob("profile-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("max_steps", "taken"), [(0, 10), (20, 10), (3, 3)])
def test_debugging_takes_ten_steps_at_most_and_says_so(workspace, narrow_base, capsys, max_steps, taken):
    assert run(narrow_base, debug=True, max_steps=max_steps, num_epochs=9)["steps"] == taken
    assert len(points("train_loss")) == taken
    assert "debug: a short training that stops at the first NaN" in capsys.readouterr().err
