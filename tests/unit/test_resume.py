"""A training that was stopped, anywhere and however often, ends with the bytes of one that was not."""

import hashlib
import os
import signal
from itertools import count
from pathlib import Path

import pytest
from transformers import TrainerCallback

from ollamake.base import Base
from ollamake.labels import IGNORE_INDEX
from ollamake.training import trainer as training
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

pytestmark = pytest.mark.slow
LENGTHS = (9, 14, 11, 17, 10, 12, 15, 8, 13, 16, 7, 18)
# 3 steps an epoch, validations within and at the end of epochs
HARD = {
    "gradient_accumulation_steps": 4,
    "lora_dropout": 0.1,
    "max_steps": 12,
    "per_device_batch_size": 1,
    "val_every_steps": 3,
    "warmup_ratio": 0.3,
}
CURVES = ("train_loss", "val_loss", "learning_rate", "gradient_norm", "overfitting_gap")


class Stop(TrainerCallback):
    """Sends this process a signal at an event of a step, and in the end takes down the state of the optimizer."""

    def __init__(self, event: str, step: int, turn: int = 1, **later: object) -> None:
        """Strike the `turn`th time that `event` comes at `step`; `later` are settings from the next start on."""
        self.event, self.step, self.turn, self.later = event, step, turn, later
        self.turns, self.optimizer = count(1), ""
        setattr(self, event, self.strike)

    def strike(self, _args, state, _control, **_) -> None:
        if state.global_step == self.step and next(self.turns) == self.turn:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, _args, _state, _control, optimizer=None, **_) -> None:
        digest = hashlib.sha256()
        for values in optimizer.state_dict()["state"].values():
            for value in values.values():
                digest.update(value.numpy(force=True).tobytes())
        self.optimizer = digest.hexdigest()


def at(event: str, step: int, turn: int = 1, **later: object) -> Stop:
    return Stop(f"on_{event}", step, turn, **later)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("sft")
    write_packs(train.PACKS, [])
    return tmp_path


def write(task: str) -> None:
    judged = {"sft": [{}], "dpo": [{"rejected_ids": [300, 301, 2]}], "kto": [{"desirable": True}, {"desirable": False}]}
    rows = [
        {
            "id": str(number),
            "input_ids": ids,
            "labels": [IGNORE_INDEX] * (length // 2) + ids[length // 2 :],
            "prompt": f"wish {number}",
            "prompt_length": length // 2,
            "reference": "ls",
            **judged[task][number % len(judged[task])],
        }
        for number, length in enumerate(LENGTHS)
        for ids in [[100 + (number * 31 + place * 7) % 900 for place in range(length)]]
    ]
    write_tokens(train.TRAIN, rows)
    write_tokens(train.VAL, rows[:5])


@pytest.fixture
def tune(workspace, narrow_base, monkeypatch):
    """Train, stopped at each of `stops` in turn, and return what came out: digests and curves."""
    make = training.make_trainer

    def tune(*stops: Stop, folder: str = "checkpoints", **changes):
        from ollamake.training.log import TrainingLog

        for number, stop in enumerate([*stops, at("step_end", -1)]):
            log = TrainingLog("metrics/train.json", "plots/train")

            def with_stop(*args, stop=stop):
                trainer = make(*args)
                trainer.callback_handler.callbacks.insert(0, stop)
                return trainer

            monkeypatch.setattr(training, "make_trainer", with_stop)
            tokens = training.Tokens(train.TRAIN, train.PACKS, train.VAL)
            given = settings(**{"checkpoint_seconds": 3600, **HARD, **changes})
            base = Base(narrow_base, {"name": "tiny"})
            Path(folder).mkdir(exist_ok=True)
            arguments = (base, tokens, given, train.TUNED, log, Path(folder))
            if number < len(stops):
                with pytest.raises(SystemExit) as left, log:
                    training.fine_tune(*arguments)
                assert left.value.code == 143
                assert not train.TUNED.exists()
                changes |= stop.later
            else:
                with log:
                    result = training.fine_tune(*arguments)
        return outcome(result, stop)

    return tune


def outcome(result, stop):
    files = sorted(path for folder in ("models/tuned", "models/checkpoints") for path in Path(folder).rglob("*.*"))
    found = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}
    found |= {f"{name}.tsv": Path(f"plots/train/metrics/{name}.tsv").read_text() for name in CURVES}
    found["optimizer"] = stop.optimizer
    timed = {"seconds", "tokens_per_second", "peak_memory_mb"}
    found |= {key: value for key, value in result.items() if key not in timed}
    for file in files:
        if file.is_file():
            file.unlink()
    train.TUNED.rmdir()
    assert len(found) > 10
    return found


STOPS = {
    "5 + kill + 7": [at("step_end", 5)],
    "1 + kill + 11": [at("step_end", 1)],
    "11 + kill + 1": [at("step_end", 11)],
    "three kills": [at("step_end", 2), at("step_end", 6), at("step_end", 7)],
    "in the midst of accumulating": [at("substep_end", 4, 1), at("substep_end", 7, 3), at("substep_end", 9, 2)],
}
MORE_STOPS = {
    "before the first step is done": [at("substep_end", 0, 2)],
    "after the last step": [at("step_end", 12)],
    "in the last evaluation": [at("prediction_step", 12, 2)],
    "at the start of an epoch": [at("epoch_begin", 3)],
    "in an evaluation, twice": [at("prediction_step", 3, 1), at("prediction_step", 3, 4), at("prediction_step", 6, 5)],
    "while an evaluation is logged": [at("evaluate", 6)],
}


@pytest.mark.row("R2.5")
@pytest.mark.parametrize("places", [STOPS, pytest.param(MORE_STOPS, marks=pytest.mark.nightly)], ids=["few", "more"])
def test_stopped_anywhere_it_ends_with_the_same_bytes(tune, places):
    reference = tune()
    assert reference["steps"] == 12
    assert reference["train_loss.tsv"].count("\n") == 13
    assert reference["val_loss.tsv"].count("\n") == 5
    for name, stops in places.items():
        assert tune(*stops, folder=f"checkpoints/{name}") == reference, name


KINDS = [{"packed": True}, {"dataloader_workers": 2}, {"method": "full", "learning_rate": 0.001}]
MORE_KINDS = [
    {"precision": "bf16"},
    {"val_every_steps": 0, "max_steps": 0, "num_epochs": 4, "keep_best": 2, "val_samples": 2},
    {"val_every_steps": 2, "early_stopping_patience": 1, "early_stopping_min_delta": 99.0, "keep_best": 1},
    {"optimizer": "sgd", "neftune_noise_alpha": 5.0, "lr_scheduler": "cosine"},
    {"task": "dpo", "learning_rate": 0.001},
    {"task": "kto", "per_device_batch_size": 2, "gradient_accumulation_steps": 2},
    {"lora_init": "pissa", "lora_rslora": True, "gradient_checkpointing": True},
]


@pytest.mark.row("R2.5")
@pytest.mark.parametrize(
    "changes",
    [*KINDS, *(pytest.param(kind, marks=pytest.mark.nightly) for kind in MORE_KINDS)],
    ids=lambda changes: "-".join(f"{key}={value}" for key, value in changes.items()),
)
def test_the_same_bytes_come_out_of_every_kind_of_training(tune, changes):
    changes = {**changes}
    write(changes.get("task", "sft"))
    if changes.pop("packed", False):
        write_packs(train.PACKS, [[0, 1], [2, 3], [4, 5, 6], [7], [8, 9], [10, 11]])
    reference = tune(**changes)
    assert reference["steps"] == (4 if "early_stopping_patience" in changes else 12)
    evaluated = 4 if "early_stopping_patience" in changes else 6
    stops = [at("step_end", 1), at("substep_end", 3, 1), at("prediction_step", evaluated, 2)]
    assert tune(*stops, folder="checkpoints/stopped", **changes) == reference


def test_it_goes_on_with_smaller_batches_that_add_up_to_the_same_steps(tune):
    whole = {"per_device_batch_size": 4, "gradient_accumulation_steps": 1, "lora_dropout": 0.0}
    halves = {"per_device_batch_size": 2, "gradient_accumulation_steps": 2}
    quarters = {"per_device_batch_size": 1, "gradient_accumulation_steps": 4}
    reference = tune(**whole)
    smaller = tune(at("step_end", 5, **halves), at("step_end", 9, **quarters), folder="checkpoints/smaller", **whole)
    for curve in ("train_loss.tsv", "val_loss.tsv", "learning_rate.tsv"):
        assert figures(smaller[curve]) == pytest.approx(figures(reference[curve]), rel=1e-4)
    assert smaller["tokens"] == reference["tokens"]


def figures(curve):
    return [float(line.split("\t")[1]) for line in curve.splitlines()[1:]]
