"""Learning from judgements on a tiny random model: what TRL is given, what is learned, and what does not change it."""

import math
import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ollamake.base import Base
from ollamake.errors import DataError, ParamsError
from ollamake.labels import IGNORE_INDEX
from ollamake.quiet import quiet_loading
from ollamake.training.examples import training_examples, validation_examples
from ollamake.training.rated import RatedRows, require_rows_of
from stages import train
from tests.arrow import NUMBERS, TOKENS, write_packs, write_tokens
from tests.training import settings

RATED = pa.schema({**{field.name: field.type for field in TOKENS}, "rejected_ids": NUMBERS, "desirable": pa.bool_()})
ROWS = 11  # so that neither a batch of 8 nor one of 4 or 2 comes out even
AFTER_THE_END = 7


def rated_rows(task):
    """Rows as tokenize leaves them: half prompt, half answer, and a token behind the answer that carries no loss."""
    rows = []
    for number in range(ROWS):
        length = 8 + number % 5 * 2
        ids = [100 + (number * 31 + place * 7) % 900 for place in range(length)]
        rejected = [200 + (number * 13 + place * 11) % 700 for place in range(3 + number % 4)]
        rows.append(
            {
                "id": str(number),
                "input_ids": [*ids, AFTER_THE_END],
                "labels": [IGNORE_INDEX] * (length // 2) + ids[length // 2 :] + [IGNORE_INDEX],
                "prompt_length": length // 2,
                **({"rejected_ids": rejected} if task == "dpo" else {"desirable": number % 3 != 0}),
            }
        )
    return rows


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packs(train.PACKS, [])
    return tmp_path


@pytest.fixture
def other_base(narrow_base, tmp_path):
    """A base model with biases, and with an output layer of its own."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path / "other"
    shutil.copytree(narrow_base, folder)
    config = AutoConfig.from_pretrained(narrow_base, attention_bias=True, tie_word_embeddings=False)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write(task):
    for path in (train.TRAIN, train.VAL):
        write_tokens(path, rated_rows(task), RATED)


def make(narrow_base, task, callbacks=(), **changes):
    """Return the Trainer of a task, which validates when it is told to."""
    from transformers import AutoTokenizer

    from ollamake.device import pick_device
    from ollamake.training.arguments import training_arguments
    from ollamake.training.preference import preference_trainer
    from ollamake.training.trainer import Tokens

    write(task)
    chosen = settings(task=task, **changes)
    arguments = training_arguments(chosen, pick_device(), Path("scratch"))
    arguments.eval_strategy = "no"
    batch = chosen.per_device_batch_size * chosen.gradient_accumulation_steps
    with quiet_loading():
        return preference_trainer(
            Base(narrow_base, {"name": "tiny"}),
            Tokens(train.TRAIN, train.PACKS, train.VAL),
            chosen,
            pick_device(),
            args=arguments,
            train_dataset=training_examples(train.TRAIN, train.PACKS, chosen.train_order, batch, chosen.train_seed),
            eval_dataset=validation_examples(train.VAL),
            processing_class=AutoTokenizer.from_pretrained(narrow_base),
            callbacks=list(callbacks),
        )


def trained(narrow_base, task, **changes):
    """Train, validate at the end, and return the Trainer."""
    trainer = make(narrow_base, task, **changes)
    trainer.train()
    trainer.evaluate()
    return trainer


def weights(trainer):
    """The trained weights as bytes."""
    return b"".join(
        parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters() if parameter.requires_grad
    )


def figures(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


# --- the rows ---


def in_file_order(task):
    write(task)
    return RatedRows(train.TRAIN, task, training_examples(train.TRAIN, train.PACKS, "given", 8, 1))


def test_a_pair_is_the_ids_of_the_file_and_ends_with_the_last_label(workspace):
    rows = in_file_order("dpo")
    assert len(rows) == ROWS
    for number, row in enumerate(rated_rows("dpo")):
        start = row["prompt_length"]
        assert rows[number] == {
            "prompt_ids": row["input_ids"][:start],
            "chosen_ids": row["input_ids"][start:-1],
            "rejected_ids": row["rejected_ids"],
        }


def test_an_answer_with_a_thumb_is_the_ids_of_the_file(workspace):
    rows = in_file_order("kto")
    for number, row in enumerate(rated_rows("kto")):
        start = row["prompt_length"]
        answer = {"prompt_ids": row["input_ids"][:start], "completion_ids": row["input_ids"][start:-1]}
        assert rows[number] == {**answer, "label": row["desirable"]}


def test_the_rows_are_not_read_into_memory(workspace):
    order = training_examples(write_tokens(train.TRAIN, rated_rows("dpo") * 2000, RATED), train.PACKS, "given", 8, 1)
    before = pa.total_allocated_bytes()
    rows = RatedRows(train.TRAIN, "dpo", order)
    assert rows[ROWS * 1999]["prompt_ids"] == rows[0]["prompt_ids"]
    assert pa.total_allocated_bytes() - before < 0.01 * train.TRAIN.stat().st_size


@pytest.mark.parametrize(
    ("task", "rows", "problem"),
    [
        ("dpo", "kto", "task is dpo, and 0 of 11 rows have a rejected answer"),
        ("kto", "dpo", "task is kto, and 11 of 11 rows have a rejected answer"),
        ("sft", "dpo", "task is sft, and 11 of 11 rows have a rejected answer"),
        ("pretrain", "kto", "task is pretrain, and 11 of 11 rows have a thumb"),
    ],
)
def test_rows_of_another_task_are_refused(workspace, task, rows, problem):
    write(rows)
    with pytest.raises(DataError, match=problem) as caught:
        require_rows_of(task, train.TRAIN, train.VAL)
    assert str(train.TRAIN) in str(caught.value)
    assert "`dvc repro tokenize`" in str(caught.value)
    require_rows_of(rows, train.TRAIN, train.VAL)


def test_a_single_row_without_a_judgement_is_found_in_the_validation_file_too(workspace):
    write("dpo")
    *rows, last = rated_rows("dpo")
    write_tokens(train.VAL, [*rows, {**last, "rejected_ids": None}], RATED)
    with pytest.raises(DataError, match=r"10 of 11 rows have a rejected answer") as caught:
        require_rows_of("dpo", train.TRAIN, train.VAL)
    assert str(train.VAL) in str(caught.value)


def test_files_without_columns_for_judgements_are_rows_of_sft(workspace):
    write_tokens(train.TRAIN, [{"input_ids": [1, 2], "labels": [1, 2]}])
    require_rows_of("sft", train.TRAIN)
    with pytest.raises(DataError, match="0 of 1 rows have a thumb"):
        require_rows_of("kto", train.TRAIN)


# --- the settings ---


def test_thumbs_one_at_a_time_are_refused():
    settings(task="dpo", per_device_batch_size=1)
    with pytest.raises(ValidationError, match="per_device_batch_size is 1.*at least 2"):
        settings(task="kto", per_device_batch_size=1)


def test_smoothing_is_refused_where_it_would_do_nothing():
    settings(task="dpo", dpo_loss="robust", label_smoothing=0.1)
    for changes in ({"task": "kto"}, {"task": "dpo", "dpo_loss": "ipo"}):
        with pytest.raises(ValidationError, match="label_smoothing is 0.1.*dpo_loss: robust"):
            settings(label_smoothing=0.1, **changes)
    with pytest.raises(ValidationError, match=r"label_smoothing is 0.5.*below 0\.5"):
        settings(task="dpo", dpo_loss="robust", label_smoothing=0.5)


def test_noise_on_the_embeddings_is_refused_because_the_base_model_would_get_it_too():
    with pytest.raises(ValidationError, match="neftune_noise_alpha is 5"):
        settings(task="dpo", neftune_noise_alpha=5.0)


# --- training ---


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dpo", "kto"])
def test_the_loss_falls_and_the_margin_rises(workspace, narrow_base, task):
    trainer, short = trained(narrow_base, task, max_steps=8), trained(narrow_base, task, max_steps=1)
    assert len(figures(trainer, "loss")) == 8
    assert figures(trainer, "loss")[-1] < figures(trainer, "loss")[0] / 2
    assert figures(trainer, "eval_loss")[-1] < figures(short, "eval_loss")[-1]
    assert figures(trainer, "eval_rewards_margin")[-1] > figures(short, "eval_rewards_margin")[-1] + 1
    if task == "dpo":
        assert figures(trainer, "eval_rewards_accuracy") == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, math.log(2)),
        ({"lora_dropout": 0.2}, math.log(2)),
        ({"dpo_loss": "hinge"}, 1),
        ({"dpo_loss": "ipo", "preference_beta": 0.5}, 1),
        ({"dpo_loss": "robust", "label_smoothing": 0.1}, math.log(2)),
        ({"method": "full", "learning_rate": 1e-4}, math.log(2)),
        ({"lora_init": "pissa"}, math.log(2)),
        ({"lora_init": "orthogonal"}, math.log(2)),
        ({"lora_dora": True}, math.log(2)),
        ({"lora_bias": "all", "learning_rate": 0.1}, math.log(2)),
    ],
)
def test_the_first_loss_is_that_of_a_model_which_is_still_the_base_model(
    workspace, narrow_base, other_base, changes, expected
):
    base = other_base if "lora_bias" in changes else narrow_base
    losses = figures(trained(base, "dpo", max_steps=3, **changes), "loss")
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    assert losses[1] != pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down"), [(1.0, 1.0), (2.0, 0.5)])
def test_thumbs_up_and_down_have_their_weights(workspace, narrow_base, up, down):
    given = {"kto_desirable_weight": up, "kto_undesirable_weight": down}
    losses = figures(trained(narrow_base, "kto", max_steps=1, per_device_batch_size=ROWS, **given), "loss")
    thumbs = [row["desirable"] for row in rated_rows("kto")]
    assert losses[0] == pytest.approx(sum(0.5 * (up if thumb else down) for thumb in thumbs) / ROWS, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dpo", "kto"])
def test_the_figures_of_the_validation_are_those_of_the_model_that_is_saved(workspace, narrow_base, task):
    """By hand, with plain torch, one answer at a time: log-probabilities of the trained model and of the base model."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    beta = 0.3
    trainer = trained(narrow_base, task, preference_beta=beta, per_device_batch_size=4)
    trainer.model.save_pretrained("adapter")
    with quiet_loading():
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(narrow_base), "adapter")

    def reward(prompt, answer):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            tuned = model(ids).logits.log_softmax(-1)
            with model.disable_adapter():
                base = model(ids).logits.log_softmax(-1)
        places = range(len(prompt), ids.shape[1])
        return beta * sum((tuned - base)[0, place - 1, ids[0, place]].item() for place in places)

    rows = rated_rows(task)
    rewards = [
        reward(row["input_ids"][: row["prompt_length"]], row["input_ids"][row["prompt_length"] : -1]) for row in rows
    ]
    if task == "dpo":
        margins = [
            mine - reward(row["input_ids"][: row["prompt_length"]], row["rejected_ids"])
            for row, mine in zip(rows, rewards, strict=True)
        ]
        loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / ROWS
        assert figures(trainer, "eval_loss")[-1] == pytest.approx(loss, rel=1e-4)
        assert figures(trainer, "eval_rewards_margin")[-1] == pytest.approx(sum(margins) / ROWS, rel=1e-4)
        accuracy = sum(margin > 0 for margin in margins) / ROWS
        assert figures(trainer, "eval_rewards_accuracy")[-1] == pytest.approx(accuracy)
    else:
        up = [mine for row, mine in zip(rows, rewards, strict=True) if row["desirable"]]
        down = [mine for row, mine in zip(rows, rewards, strict=True) if not row["desirable"]]
        margin = sum(up) / len(up) - sum(down) / len(down)
        assert figures(trainer, "eval_rewards_margin")[-1] == pytest.approx(margin, rel=1e-4)


@pytest.mark.slow
def test_pairs_added_up_in_any_number_of_batches_are_the_same_steps(workspace, narrow_base):
    runs = [
        trained(narrow_base, "dpo", max_steps=4, per_device_batch_size=size, gradient_accumulation_steps=8 // size)
        for size in (8, 1, 2)
    ]
    whole, *others = [[figures(one, name) for name in ("loss", "eval_loss", "eval_rewards_margin")] for one in runs]
    assert len(whole[0]) == 4
    for other in others:
        for mine, theirs in zip(other, whole, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_the_same_rows_reach_the_trainer_in_the_order_of_their_epoch(workspace, narrow_base, monkeypatch):
    seen, read = [], RatedRows.__getitem__

    def watched(self, index):
        seen.append(read(self, index)["prompt_ids"])
        return read(self, index)

    monkeypatch.setattr(RatedRows, "__getitem__", watched)
    trained(narrow_base, "kto", max_steps=0, num_epochs=2, per_device_batch_size=4, train_seed=5)
    expected = []
    for epoch in range(2):
        order = training_examples(train.TRAIN, train.PACKS, "random", 4, 5)
        order.set_epoch(epoch)
        rows = rated_rows("kto")
        chosen = [rows[int(place)] for place in order.places]
        expected += [row["input_ids"][: row["prompt_length"]] for row in chosen]
    assert seen[: 2 * ROWS] == expected
    assert expected[:ROWS] != expected[ROWS:]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dpo", "kto"])
def test_the_same_inputs_give_the_same_bytes_and_another_seed_does_not(workspace, narrow_base, task):
    once, again, other_seed, without = (
        weights(trained(narrow_base, task, **{"lora_dropout": 0.1, **changes}))
        for changes in ({}, {}, {"train_seed": 2}, {"lora_dropout": 0.0})
    )
    assert once == again
    assert once not in (other_seed, without)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), [("dpo", "lora"), ("dpo", "full"), ("kto", "lora")])
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(workspace, narrow_base, task, method):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_begin(self, _args, state, _control, **_):
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    changes = {"method": method, "lora_dropout": 0.1, "per_device_batch_size": 2, "gradient_accumulation_steps": 2}
    changes |= {"learning_rate": 1e-3, "max_steps": 5}
    whole = trained(narrow_base, task, **changes)
    stopped = make(narrow_base, task, [Stop()], **changes)
    with pytest.raises(SystemExit) as caught:
        stopped.resume(60)
    assert caught.value.code == 128 + signal.SIGTERM
    assert 0 < stopped.state.global_step < 5
    resumed = make(narrow_base, task, **changes)
    resumed.resume(60)
    assert weights(resumed) == weights(whole)
    assert figures(resumed, "num_tokens") == figures(whole, "num_tokens")


@pytest.mark.slow
def test_packed_rows_and_an_adapter_on_the_head_are_refused(workspace, narrow_base, other_base):
    write_packs(train.PACKS, [[0, 1]])
    with pytest.raises(ParamsError, match="packing: answers are compared one by one"):
        trained(narrow_base, "dpo")
    write_packs(train.PACKS, [])
    with pytest.raises(ParamsError, match="lm_head cannot have an adapter in the tasks dpo and kto"):
        trained(other_base, "kto", lora_target_modules="q_proj lm_head")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_whole_training_writes_the_model_and_its_curves(workspace, narrow_base, method):
    from ollamake.training.log import TrainingLog
    from ollamake.training.trainer import Tokens, fine_tune

    write("dpo")
    rate = 0.01 if method == "lora" else 1e-4
    chosen = settings(task="dpo", method=method, learning_rate=rate, val_every_steps=1, keep_best=2, val_samples=1)
    with TrainingLog(str(train.METRICS), str(train.PLOTS)) as log:
        tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
        result = fine_tune(Base(narrow_base, {"name": "tiny"}), tokens, chosen, train.TUNED, log)
    assert sum(1 for _ in train.TUNED.glob("*.safetensors")) == 1
    assert 0 < result["val_loss"] < math.log(2)
    for curve in ("train_loss", "val_loss", "rewards_margin"):
        assert len((train.PLOTS / f"metrics/{curve}.tsv").read_text().splitlines()) == 1 + 3
