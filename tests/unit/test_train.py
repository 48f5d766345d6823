"""Training on a tiny random model: what is learned, what is written, and what does not depend on the batch."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ollamake.base import Base
from ollamake.errors import ParamsError, TrainingError
from ollamake.labels import IGNORE_INDEX
from ollamake.training import examples
from ollamake.training.examples import Examples
from ollamake.training.order import shuffled
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

pytestmark = pytest.mark.slow
LENGTHS = (9, 14, 11, 17, 10, 12, 15, 8)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "id": str(number),
            "input_ids": ids,
            "labels": [IGNORE_INDEX] * (length // 2) + ids[length // 2 :],
        }
        for number, length in enumerate(LENGTHS)
        for ids in [[100 + (number * 31 + place * 7) % 900 for place in range(length)]]
    ]
    for path in (train.TRAIN, train.VAL):
        write_tokens(path, rows)
    write_packs(train.PACKS, [])
    return tmp_path


def run(narrow_base: Path, **changes):
    """Train and return the losses of each step, the summary and the adapter's bytes."""
    from ollamake.training.log import TrainingLog
    from ollamake.training.trainer import Tokens, fine_tune

    base = Base(narrow_base, {"name": "tiny"})
    with TrainingLog("metrics/train.json", "plots/train") as log:
        tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
        result = fine_tune(base, tokens, settings(**changes), train.TUNED, log)
        log.summary.update(result)
    return series("train_loss"), result, (train.TUNED / "adapter_model.safetensors").read_bytes()


def series(name):
    lines = Path(f"plots/train/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def test_training_lowers_the_loss_and_writes_every_step(workspace, narrow_base):
    losses, result, _ = run(narrow_base, max_steps=8)
    assert losses[-1] < losses[0]
    assert len(losses) == result["steps"] == 8
    assert [len(series(name)) for name in ("learning_rate", "gradient_norm", "tokens_per_second")] == [8, 8, 8]
    assert result["tokens"] == 8 * sum(LENGTHS)
    assert json.loads(Path("metrics/train.json").read_text())["padding_fraction"] == 0
    assert json.loads(Path("metrics/train.json").read_text())["val_loss"] == result["val_loss"]
    assert min(series("tokens_per_second")) > 0


def test_the_adapter_names_the_base_model_and_no_folder_of_this_machine(workspace, narrow_base):
    run(narrow_base, max_steps=1)
    files = sorted(file.name for file in train.TUNED.iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    config = (train.TUNED / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "tiny"
    assert str(narrow_base.parent) not in config


def test_the_same_inputs_give_the_same_bytes_and_another_seed_does_not(workspace, narrow_base):
    once = run(narrow_base, lora_dropout=0.1)[2]
    assert run(narrow_base, lora_dropout=0.1)[2] == once
    assert run(narrow_base, lora_dropout=0.1, train_seed=2)[2] != once


def test_the_same_packed_rows_give_the_same_bytes(workspace, narrow_base):
    write_packs(train.PACKS, [[0, 1], [2, 3], [4, 5], [6, 7]])
    once = run(narrow_base, lora_dropout=0.1, per_device_batch_size=2)[2]
    assert run(narrow_base, lora_dropout=0.1, per_device_batch_size=2)[2] == once


def test_packed_rows_are_learnt_as_the_same_rows_alone(workspace, narrow_base):
    alone = run(narrow_base)[0]
    write_packs(train.PACKS, [[0, 1, 3], [6, 2], [5, 4, 7]])
    packed, result, _ = run(narrow_base, gradient_accumulation_steps=3, per_device_batch_size=1)
    assert packed == pytest.approx(alone, rel=1e-5)
    assert result["tokens"] == 3 * sum(LENGTHS)


def test_a_base_model_that_would_mix_rows_is_trained_on_padded_ones(workspace, narrow_base, monkeypatch):
    together = run(narrow_base)[0]
    monkeypatch.setattr("ollamake.training.loss.isolate", lambda model: False)
    apart, result, _ = run(narrow_base)
    assert apart == pytest.approx(together, rel=1e-4)
    assert result["padding_fraction"] == round(1 - sum(LENGTHS) / (8 * max(LENGTHS)), 4)
    write_packs(train.PACKS, [[0, 1], [2, 3], [4, 5], [6, 7]])
    with pytest.raises(ParamsError, match="LlamaForCausalLM lets the conversations of a packed row read each other"):
        run(narrow_base, max_steps=1)


def test_a_model_whose_logits_are_more_than_a_product_learns_the_same(workspace, narrow_base, monkeypatch):
    fused = run(narrow_base, label_smoothing=0.1)[0]
    monkeypatch.setattr("ollamake.training.loss.plain_head", lambda model: None)
    assert run(narrow_base, label_smoothing=0.1)[0] == pytest.approx(fused, rel=1e-4)


@pytest.mark.parametrize("size", [{"per_device_batch_size": 2}, {"gradient_accumulation_steps": 2}])
def test_every_epoch_goes_through_its_own_order(workspace, narrow_base, monkeypatch, size):
    seen = visited(monkeypatch, train.TRAIN)
    run(narrow_base, max_steps=0, num_epochs=3, train_seed=5, **{"per_device_batch_size": 1, **size})
    orders = [shuffled(len(LENGTHS), 5, epoch) for epoch in range(3)]
    assert seen == np.concatenate(orders).tolist()
    assert (orders[0] != orders[1]).any()


def test_a_given_order_is_kept_in_every_epoch(workspace, narrow_base, monkeypatch):
    seen = visited(monkeypatch, train.TRAIN)
    run(narrow_base, max_steps=0, num_epochs=2, per_device_batch_size=2, train_order="field:grade")
    assert seen == [*range(8), *range(8)]


def visited(monkeypatch, path):
    """The rows of `path` that training reads from here on, in their order."""
    seen, read, open_map = [], Examples.__getitem__, examples.training_examples
    training = []
    monkeypatch.setattr(
        examples, "training_examples", lambda *options: training.append(open_map(*options)) or training[-1]
    )

    def watched(self, index):
        if self in training:
            seen.append(int(self.places[index]))
        return read(self, index)

    monkeypatch.setattr(Examples, "__getitem__", watched)
    return seen


def test_accumulating_single_rows_equals_one_batch(workspace, narrow_base):
    whole = run(narrow_base, per_device_batch_size=8, gradient_accumulation_steps=1)[0]
    pieces = run(narrow_base, per_device_batch_size=1, gradient_accumulation_steps=8)[0]
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_the_loss_is_that_of_the_supervised_tokens_alone(workspace, narrow_base):
    import pyarrow as pa
    import torch
    from transformers import AutoModelForCausalLM

    first = run(narrow_base, max_steps=1)[0][0]
    model = AutoModelForCausalLM.from_pretrained(narrow_base)
    total, count = 0.0, 0
    for row in pa.ipc.open_file(str(train.TRAIN)).read_all().to_pylist():
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        for place, label in enumerate(labels[0, 1:].tolist()):
            if label != IGNORE_INDEX:
                total, count = total - logprobs[place, label].item(), count + 1
    assert first == pytest.approx(total / count, rel=1e-4)


def test_the_loss_is_finite_where_a_whole_column_carries_none(workspace, narrow_base):
    losses, _, _ = run(narrow_base, per_device_batch_size=2, max_steps=4)
    assert all(0 < loss < 50 for loss in losses)


def test_the_validation_loss_does_not_depend_on_the_batch_size(workspace, narrow_base):
    figures = [
        run(narrow_base, max_steps=1, learning_rate=1e-9, per_device_batch_size=size)[1]["val_loss"] for size in (3, 8)
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


def test_a_diverged_training_is_refused_and_leaves_no_adapter(workspace, narrow_base):
    with pytest.raises(TrainingError, match=r"training diverged.*\n?.*hint: lower learning_rate"):
        run(narrow_base, learning_rate=1e30, max_steps=4, max_grad_norm=1e30)
    assert not train.TUNED.exists()


def test_a_mistyped_layer_is_refused_with_the_names_there_are(workspace, narrow_base):
    with pytest.raises(
        ParamsError,
        match=r"no layer named v_prj that can have an adapter\nhint: all-linear, or some of: .*q_proj.* v_proj",
    ):
        run(narrow_base, lora_target_modules="q_proj v_prj")


@pytest.mark.parametrize("order", ["random", "grouped", "given", "length", "loss", "field:grade"])
def test_the_orders_that_prepare_knows_are_accepted(order):
    assert settings(train_order=order).train_order == order


@pytest.mark.parametrize("order", ["", "Random", "field:", "shuffled", "length:", "field"])
def test_an_order_that_prepare_does_not_know_is_refused(order):
    with pytest.raises(ValidationError, match="train_order"):
        settings(train_order=order)
