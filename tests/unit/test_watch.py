"""What is decided and summed up from the history of a training alone."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamake.training.best import KeepBest, kept
from ollamake.training.watch import (
    Validation,
    best_steps,
    divergence,
    figures,
    out_of_patience,
    overfitting,
    summary,
    validations,
)

VOCABULARY = 49152  # a model that knows nothing pays 10.8 nats
LOSSES = st.lists(st.floats(0, 20), min_size=1, max_size=30)


def step(number, loss, **more):
    return {"step": number, "epoch": number / 4, "loss": loss, "grad_norm": 1.0, **more}


def validation(number, loss):
    return {"step": number, "epoch": number / 4, "eval_loss": loss, "seconds": 2.0}


def seen(*losses):
    return [Validation(4 * place, float(place), loss, 1.0) for place, loss in enumerate(losses, start=1)]


def test_the_gap_is_to_the_steps_since_the_validation_before():
    history = [step(1, 3.0), step(2, 2.0), validation(2, 2.75), step(3, 1.0), validation(3, 2.5)]
    assert [(one.train_loss, one.gap) for one in validations(history)] == [(2.5, 0.25), (1.0, 1.5)]


def test_entries_of_other_kinds_are_passed_over():
    history = [{"step": 0, "out_of_memory": {}}, step(1, 3.0), validation(1, 3.5), {"step": 1, "train_loss": 3.0}]
    assert [one.step for one in validations(history)] == [1]
    assert figures(history[0]) == figures(history[3]) == {}


@given(LOSSES, st.integers(1, 6), st.floats(0, 2))
def test_the_patience_ends_at_the_first_row_of_validations_without_a_gain(losses, patience, min_delta):
    gains, best = [], math.inf
    for place, loss in enumerate(losses):
        if loss < best - min_delta:
            best = loss
            gains.append(place)
    assert out_of_patience(losses, patience, min_delta) == (len(losses) - 1 - gains[-1] >= patience)


@given(LOSSES, st.floats(0, 2))
def test_no_patience_set_waits_for_ever(losses, min_delta):
    assert not out_of_patience(losses, 0, min_delta)


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0, 0.9))
def test_a_loss_that_keeps_falling_by_more_than_the_delta_never_stops(count, patience, min_delta):
    assert not out_of_patience([100.0 - place for place in range(count)], patience, min_delta)


def test_small_steps_down_add_up_to_a_gain():
    assert not out_of_patience([1.0, 0.96, 0.92, 0.88], 3, 0.1)
    assert out_of_patience([1.0, 0.98, 0.96, 0.94], 3, 0.1)


@given(LOSSES, st.integers(0, 5))
def test_the_best_are_the_lowest_and_of_equal_ones_the_earlier(losses, count):
    rows = seen(*losses)
    best = best_steps(rows, count)
    assert len(best) == min(count, len(rows))
    chosen = [row for row in rows if row.step in best]
    left = [row for row in rows if row.step not in best]
    assert all(a.val_loss < b.val_loss or (a.val_loss == b.val_loss and a.step < b.step) for a in chosen for b in left)


def test_a_gap_that_grows_after_the_best_validation_is_overfitting():
    assert overfitting(seen(2.0, 1.5, 1.75, 2.0)) == {
        "gap": 1.0,
        "trend": pytest.approx(0.025),
        "verdict": "since step 8",
    }
    assert overfitting(seen(2.0, 1.5))["verdict"] == "none"
    assert overfitting(seen(2.0)) == {"gap": 1.0, "verdict": "none"}


def test_the_summary_is_of_the_whole_training_and_not_of_its_last_step():
    more = {"seconds": 1.0, "memory_mb": 100.0}
    history = [
        step(1, 3.0, tokens=10, **more),
        validation(1, 2.0),
        step(2, 2.0, tokens=30, **{**more, "memory_mb": 300.0}),
        step(3, 1.0, tokens=60, **more),
        validation(3, 2.5),
    ]
    result = summary(history)
    assert (result["train_loss"], result["val_loss"]) == (1.5, 2.5)
    assert (result["best_val_loss"], result["best_step"]) == (2.0, 1)
    assert (result["tokens"], result["seconds"], result["tokens_per_second"]) == (60, 7.0, 20.0)
    assert result["peak_memory_mb"] == 300.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_divergence_with_the_loss_before(value):
    fine = [step(1, 3.0), step(2, 2.5)]
    assert divergence(fine, VOCABULARY) is None
    assert divergence([*fine, step(3, value)], VOCABULARY) == f"the loss is {value}, and the loss was 2.5 at step 2"
    last = step(3, 2.0, grad_norm=value)
    assert divergence([*fine, last], VOCABULARY) == f"the gradient norm is {value}, and the loss was 2.5 at step 2"
    assert divergence([*fine, validation(2, value)], VOCABULARY) == f"the validation loss is {value}"
    assert divergence([step(1, value)], VOCABULARY) == f"the loss is {value}"


def test_a_loss_that_stays_above_that_of_a_model_that_knows_nothing_has_exploded():
    history = [step(1, 3.0), step(2, 14.0), validation(2, 15.0), step(3, 12.0), validation(3, 15.0)]
    assert divergence(history, VOCABULARY) is None
    assert divergence([*history, step(4, 9.0)], VOCABULARY) is None
    problem = divergence([*history, step(4, 13.0)], VOCABULARY)
    assert problem == "the loss has been above 9.72 for 3 steps (14, 12, 13) and began at 3"


def test_a_loss_that_began_high_may_be_high():
    assert divergence([step(number, 20.0) for number in range(1, 9)], VOCABULARY) is None
    assert divergence([step(1, 20.0), *(step(number, 41.0) for number in range(2, 5))], VOCABULARY)


class Disk:
    """A KeepBest over folders of one file, and the state it is told."""

    def __init__(self, root, count):
        self.root, self.state = root, SimpleNamespace(log_history=[], global_step=0, is_world_process_zero=True)
        self.saved, self.keeper = [], KeepBest(count, self.save, 1)
        self.begin()

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.saved.append(self.state.global_step)

    def begin(self):
        self.tell("on_train_begin")

    def tell(self, event):
        getattr(self.keeper, event)(SimpleNamespace(output_dir=str(self.root)), self.state, None)

    def validate(self, *losses):
        for loss in losses:
            self.state.global_step += 1
            number = self.state.global_step
            self.state.log_history += [step(number, 1.0), validation(number, loss)]
            self.tell("on_evaluate")

    @property
    def steps(self):
        return sorted(int(folder.name[5:]) for folder in kept(self.root, 0).parent.glob("step-*"))


def test_a_validation_that_brings_no_better_model_saves_none(tmp_path):
    disk = Disk(tmp_path, 1)
    disk.validate(3.0, 2.0, 2.5, 2.0)
    assert disk.saved == [1, 2]
    assert disk.steps == [2]


def test_what_a_checkpoint_knows_as_the_best_stays_as_long_as_the_checkpoint(tmp_path):
    disk = Disk(tmp_path, 1)
    disk.validate(3.0)
    disk.tell("on_save")
    disk.validate(2.0)
    assert disk.steps == [1, 2]
    disk.tell("on_save")
    disk.validate(1.0)
    assert disk.steps == [1, 2, 3]
    disk.tell("on_save")
    assert disk.steps == [2, 3]


def test_a_resumed_training_lets_go_of_what_its_checkpoint_does_not_know(tmp_path):
    disk = Disk(tmp_path, 2)
    disk.validate(3.0, 2.5)
    disk.tell("on_save")
    held = list(disk.state.log_history)
    disk.validate(1.0)
    disk.state.log_history, disk.state.global_step = held, 2
    disk.begin()
    assert disk.steps == [1, 2]
