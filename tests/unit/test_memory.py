"""Running out of memory: what counts as it, what becomes of the batches, and a training that really runs out."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ollamake.base import Base
from ollamake.errors import TrainingError
from ollamake.training.memory import (
    OutOfMemoryError,
    Shortage,
    after_shortage,
    guarded,
    is_out_of_memory,
    largest_part,
    until_it_fits,
)
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

STEPS, ROWS, BATCH = 4, 11, 4


# --- what counts as it ---


def too_much():
    return torch.empty(1 << 55, dtype=torch.uint8)


def test_what_the_allocator_of_the_cpu_raises_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        too_much()
    assert is_out_of_memory(caught.value)


def test_what_numpy_raises_is_recognised():
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 55, np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        RuntimeError("HIP out of memory. Tried to allocate 20 MiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_what_libraries_raise_is_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        OSError("Cannot allocate memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


# --- what becomes of the batches ---


def test_a_batch_is_halved_and_an_odd_one_falls_to_its_largest_part():
    assert [largest_part(size) for size in (1, 2, 3, 8, 9, 12, 15, 35)] == [0, 1, 1, 4, 3, 6, 5, 7]
    assert after_shortage(settings(per_device_batch_size=6, gradient_accumulation_steps=3), 7) == Shortage(7, 3, 6)
    assert after_shortage(settings(per_device_batch_size=9, gradient_accumulation_steps=1), 0) == Shortage(0, 3, 3)


def test_the_smallest_batch_that_does_not_fit_ends_with_what_to_do():
    with pytest.raises(TrainingError) as caught:
        after_shortage(settings(per_device_batch_size=1), 12)
    for word in (
        "12 steps",
        "batch_size 1",
        "`dvc exp run -S gradient_checkpointing",
        "max_length",
        "packing",
        "qlora",
    ):
        assert word in str(caught.value)


def test_thumbs_stay_at_least_two_at_a_time():
    assert after_shortage(settings(task="kto", per_device_batch_size=4), 1).per_device_batch_size == 2
    for size in (2, 3):
        with pytest.raises(TrainingError, match=f"per_device_batch_size {size}"):
            after_shortage(settings(task="kto", per_device_batch_size=size), 1)


def test_training_is_tried_with_ever_smaller_batches_and_told_what_came_before(tmp_path, capsys):
    tried = []

    def train_once(chosen, shortages):
        tried.append((chosen.per_device_batch_size, chosen.gradient_accumulation_steps, list(shortages)))
        if chosen.per_device_batch_size > 2:
            raise OutOfMemoryError(len(tried))
        return "done"

    assert (
        until_it_fits(train_once, settings(per_device_batch_size=8, gradient_accumulation_steps=3), tmp_path) == "done"
    )
    first, second = Shortage(1, 4, 6), Shortage(2, 2, 12)
    assert tried == [(8, 3, []), (4, 6, [first]), (2, 12, [first, second])]
    assert "out of memory after 2 steps: going on with per_device_batch_size 2, " in capsys.readouterr().err


def test_a_model_that_does_not_fit_at_all_is_said_so(tmp_path):
    with pytest.raises(
        TrainingError, match=r"the model itself does not fit into memory: .*can't allocate memory"
    ) as caught:
        until_it_fits(lambda *_: too_much(), settings(), tmp_path)
    assert "`dvc exp run -S method=qlora`" in str(caught.value)


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"):
        until_it_fits(lambda *_: torch.ones(2, 3) @ torch.ones(2, 3), settings(), tmp_path)


def trainer(**changes):
    """What `guarded` looks at."""
    sizes = {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2}
    arguments = {"world_size": 1, "process_index": 0, **sizes, **changes}
    return SimpleNamespace(args=SimpleNamespace(**arguments), state=SimpleNamespace(global_step=5))


def test_nothing_holds_on_to_what_the_failed_step_had_in_memory():
    import gc
    import weakref

    held = []

    def work():
        tensor = torch.ones(10)
        held.append(weakref.ref(tensor))
        too_much()

    with pytest.raises(OutOfMemoryError) as caught:
        guarded(trainer(), work)
    gc.collect()
    assert caught.value.steps == 5
    assert held[0]() is None


def test_one_of_several_processes_ends_with_the_command_for_all():
    with pytest.raises(TrainingError) as caught:
        guarded(trainer(world_size=2, process_index=1), too_much)
    assert "after 5 steps in process 2 of 2" in str(caught.value)
    assert "`dvc exp run -S per_device_batch_size=3 -S gradient_accumulation_steps=4`" in str(caught.value)


# --- a training that really runs out ---


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(ROWS)
    return tmp_path


def write_files(rows, length=24, paths=(train.TRAIN, train.VAL)):
    for path in paths:
        lines = [
            {"id": str(number), "input_ids": ids, "labels": [-100] * 4 + ids[4:]}
            for number in range(rows)
            for ids in [[100 + (number * 31 + place * 7) % 900 for place in range(length + number % 5)]]
        ]
        write_tokens(path, lines)
    write_packs(train.PACKS, [])


def run(narrow_base, checkpoints=None, **changes):
    """Train and return the losses of each step, what it came to and the adapter's bytes."""
    from ollamake.training.log import TrainingLog
    from ollamake.training.trainer import Tokens, fine_tune

    chosen = settings(**{"max_steps": STEPS, "per_device_batch_size": BATCH, "val_every_steps": 2, **changes})
    tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
    with TrainingLog("metrics/train.json", "plots/train") as log:
        result = fine_tune(Base(narrow_base, {"name": "tiny"}), tokens, chosen, train.TUNED, log, checkpoints)
        log.summary.update(result)
    lines = Path("plots/train/metrics/train_loss.tsv").read_text().splitlines()[1:]
    losses = [float(line.split("\t")[1]) for line in lines]
    return losses, result, (train.TUNED / "adapter_model.safetensors").read_bytes()


def runs_out(monkeypatch, step, rows):
    """Let a batch of more than `rows` rows be too much from optimizer step `step` on."""
    from ollamake.training.loss import SupervisedTrainer

    compute = SupervisedTrainer.compute_loss

    def watched(self, model, inputs, *args, **options):
        if self.state.global_step >= step and len(inputs["lengths"]) > rows:
            too_much()
        return compute(self, model, inputs, *args, **options)

    monkeypatch.setattr(SupervisedTrainer, "compute_loss", watched)


def stops(monkeypatch, step):
    """Let a signal come within the step after `step` steps."""
    from ollamake.training.loss import SupervisedTrainer

    compute = SupervisedTrainer.compute_loss

    def watched(self, *args, **options):
        loss = compute(self, *args, **options)
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(SupervisedTrainer, "compute_loss", watched)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "rows"), [(0, 2), (2, 2), (3, 1)])
@pytest.mark.parametrize("checkpoint_seconds", [0, 600])
def test_the_steps_are_the_same_wherever_memory_runs_out(
    workspace, narrow_base, monkeypatch, step, rows, checkpoint_seconds
):
    losses, result, _ = run(narrow_base)
    assert result["out_of_memory"] == []
    runs_out(monkeypatch, step, rows)
    again, shrunk, _ = run(narrow_base, workspace / "checkpoints", checkpoint_seconds=checkpoint_seconds)
    assert len(again) == STEPS
    assert again == pytest.approx(losses, rel=1e-6)
    assert shrunk["val_loss"] == pytest.approx(result["val_loss"], rel=1e-6)
    sizes = [2, 1] if rows == 1 else [2]
    assert shrunk["out_of_memory"] == [
        {"step": step, "per_device_batch_size": size, "gradient_accumulation_steps": BATCH // size} for size in sizes
    ]
    assert shrunk["per_device_batch_size"] == sizes[-1]
    assert json.loads(Path("metrics/train.json").read_text())["out_of_memory"] == shrunk["out_of_memory"]
    assert shrunk["tokens"] == result["tokens"]


@pytest.mark.slow
def test_running_out_in_the_first_step_is_the_same_as_smaller_batches_from_the_start(
    workspace, narrow_base, monkeypatch
):
    changes = {"lora_dropout": 0.1}
    _, _, small = run(narrow_base, per_device_batch_size=BATCH // 2, gradient_accumulation_steps=2, **changes)
    runs_out(monkeypatch, 0, BATCH // 2)
    _, result, adapter = run(narrow_base, **changes)
    assert result["per_device_batch_size"] == BATCH // 2
    assert adapter == small


@pytest.mark.slow
def test_a_stop_after_memory_ran_out_goes_on_with_the_smaller_batches(workspace, narrow_base, monkeypatch):
    """Even if there is room again: what is trained must not depend on where it was stopped."""
    changes = {"lora_dropout": 0.1, "checkpoint_seconds": 0}
    with monkeypatch.context() as patched:
        runs_out(patched, 1, 2)
        whole = run(narrow_base, workspace / "whole", **changes)
        stops(patched, 2)
        with pytest.raises(SystemExit):
            run(narrow_base, workspace / "stopped", **changes)
    resumed = run(narrow_base, workspace / "stopped", **changes)
    assert resumed[0] == whole[0]
    assert resumed[1]["out_of_memory"] == whole[1]["out_of_memory"]
    assert len(resumed[1]["out_of_memory"]) == 1
    assert resumed[2] == whole[2]


@pytest.mark.slow
def test_a_validation_that_runs_out_is_done_with_smaller_batches(workspace, narrow_base, monkeypatch):
    from ollamake.training.loss import SupervisedTrainer

    _, result, _ = run(narrow_base)
    predict = SupervisedTrainer.prediction_step

    def watched(self, model, inputs, *args, **options):
        if len(inputs["lengths"]) > 2:
            too_much()
        return predict(self, model, inputs, *args, **options)

    monkeypatch.setattr(SupervisedTrainer, "prediction_step", watched)
    _, shrunk, _ = run(narrow_base)
    assert shrunk["out_of_memory"] == [{"step": 2, "per_device_batch_size": 2, "gradient_accumulation_steps": 2}]
    assert shrunk["val_loss"] == pytest.approx(result["val_loss"], rel=1e-6)


# Room beyond what is in use once the model is loaded: 32 rows of 480 tokens take 810 MB in a step, 16 take 380.
ROOM_BYTES = 600_000_000

REAL = """
import resource, sys
from pathlib import Path
from tests.unit.test_memory import run, train, write_files
import torch
from ollamake.training.resumable import Resumable

write_files(32, 480)
write_files(4, 60, [train.VAL])
resume = Resumable.resume

def limited(self, *args):
    if not limits:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits.append(pages * resource.getpagesize() + int(sys.argv[2]))
        resource.setrlimit(resource.RLIMIT_AS, (limits[0], limits[0]))
    return resume(self, *args)

limits = []
if int(sys.argv[2]):
    Resumable.resume = limited
losses, result, _ = run(Path(sys.argv[1]), per_device_batch_size=32, max_steps=1)
import json
print(json.dumps([[*losses, result["val_loss"]], result["out_of_memory"]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
@pytest.mark.nightly
def test_a_process_that_may_not_have_more_memory_trains_with_what_it_has(workspace, tiny_base):
    def process(room_bytes):
        command = [sys.executable, "-c", REAL, str(tiny_base), str(room_bytes)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    (losses, shortages), _ = process(0)
    assert shortages == []
    (again, shortages), said = process(ROOM_BYTES)
    assert shortages[0] == {"step": 0, "per_device_batch_size": 16, "gradient_accumulation_steps": 2}
    assert again == pytest.approx(losses, rel=1e-6)
    assert "out of memory after 0 steps: going on with per_device_batch_size 16" in said
