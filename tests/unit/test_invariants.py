"""What must not change the numbers of a training, and what must, against plain torch; full precision throughout."""

import math
from pathlib import Path

import pytest

from ollamake.base import Base
from ollamake.labels import IGNORE_INDEX
from ollamake.training import arguments, kernels
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

pytestmark = pytest.mark.slow
LENGTHS = (9, 14, 11, 17, 10, 12, 15, 8)
# How many tokens of each row are learned: a mean of the micro-batches' means would be another figure.
SUPERVISED = (7, 1, 3, 12, 2, 11, 1, 5)
STEPS = 3


def rows():
    return [
        {"id": str(number), "input_ids": ids, "labels": [IGNORE_INDEX] * (length - supervised) + ids[-supervised:]}
        for number, (length, supervised) in enumerate(zip(LENGTHS, SUPERVISED, strict=True))
        for ids in [[100 + (number * 31 + place * 7) % 900 for place in range(length)]]
    ]


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (train.TRAIN, train.VAL):
        write_tokens(path, rows())
    write_packs(train.PACKS, [])
    from ollamake.training.log import TrainingLog

    with TrainingLog("metrics/train.json", "plots/train") as log:
        yield log


def make(log, narrow_base, **changes):
    """Return a Trainer with `settings(**changes)` that has not trained yet, and these settings."""
    from ollamake.quiet import quiet_loading
    from ollamake.training.trainer import Tokens, make_trainer

    chosen = settings(**{"max_steps": STEPS, **changes})
    tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
    with quiet_loading():
        return make_trainer(Base(narrow_base, {"name": "tiny"}), tokens, chosen, Path("scratch"), log)


def trained(log, narrow_base, **changes):
    """Train, and return the losses of the steps, the validation losses and the trained weights."""
    import torch

    trainer = make(log, narrow_base, **changes)
    trainer.train()
    weights = torch.cat([part.detach().flatten() for part in trainer.model.parameters() if part.requires_grad])
    return figures(trainer, "loss"), figures(trainer, "eval_loss"), weights


def figures(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def apart(first, second):
    """The largest difference between two sets of weights."""
    return (first - second).abs().max().item()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_batches_that_add_up_to_the_same_rows_are_the_same_steps(log, narrow_base, method):
    changes = {"method": method, "optimizer": "sgd", "learning_rate": 0.1, "max_grad_norm": 1.0}
    whole, *others = [
        trained(log, narrow_base, per_device_batch_size=size, gradient_accumulation_steps=8 // size, **changes)
        for size in (8, 4, 1)
    ]
    assert whole[0][-1] < whole[0][0] - 0.01
    for losses, evaluations, weights in others:
        assert losses == pytest.approx(whole[0], rel=1e-6)
        assert evaluations == pytest.approx(whole[1], rel=1e-6)
        assert apart(weights, whole[2]) < 1e-6


def test_packed_rows_are_the_same_steps(log, narrow_base):
    changes = {"optimizer": "sgd", "learning_rate": 0.1}
    alone = trained(log, narrow_base, **changes)
    write_packs(train.PACKS, [[0, 1, 3], [6, 2], [5, 4, 7]])
    for size in (3, 1):
        packed = trained(log, narrow_base, per_device_batch_size=size, gradient_accumulation_steps=3 // size, **changes)
        assert packed[0] == pytest.approx(alone[0], rel=1e-6)
        assert packed[1] == pytest.approx(alone[1], rel=1e-6)
        assert apart(packed[2], alone[2]) < 1e-6


def plain_torch(model, chosen, smoothing=0.0):
    """Yield the loss of each step of a loop as one would write it by hand: a row at a time, all rows a step."""
    import torch
    from torch.nn.functional import cross_entropy

    parameters = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
    for step in range(STEPS):
        losses, count = [], 0
        for row in rows():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
            targets = torch.tensor(row["labels"][1:])
            losses.append(cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing))
            count += (targets != IGNORE_INDEX).sum().item()
        loss = sum(losses) / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, chosen.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = chosen.learning_rate * (1 - step / STEPS)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("size", [8, 2])
def test_three_steps_are_those_of_a_loop_in_plain_torch(log, narrow_base, size, smoothing):
    """The loss is that of the supervised tokens of the whole step; a smoothed one is torch's own."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from ollamake.quiet import quiet_loading
    from ollamake.training.adapter import adapter_config

    changes = {"per_device_batch_size": size, "gradient_accumulation_steps": 8 // size, "label_smoothing": smoothing}
    trainer, chosen = make(log, narrow_base, **changes), settings(**changes)
    with quiet_loading():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(narrow_base), adapter_config(chosen))
    adapters = {name: part.detach().clone() for name, part in trainer.model.named_parameters() if part.requires_grad}
    model.load_state_dict(adapters, strict=False)
    losses = list(plain_torch(model, chosen, smoothing))
    trainer.train()
    assert figures(trainer, "loss") == pytest.approx(losses, rel=1e-5)
    ours = torch.cat([part.detach().flatten() for part in trainer.model.parameters() if part.requires_grad])
    theirs = torch.cat([part.detach().flatten() for part in model.parameters() if part.requires_grad])
    assert apart(ours, theirs) < 1e-4  # Adam divides by gradients that are nearly nothing


def test_label_smoothing_is_for_training_alone(log, narrow_base):
    changes = {"learning_rate": 1e-12, "max_steps": 1}
    plain, smoothed = (trained(log, narrow_base, label_smoothing=share, **changes) for share in (0.0, 0.3))
    assert smoothed[1] == pytest.approx(plain[1], rel=1e-6)
    assert smoothed[0] != pytest.approx(plain[0], rel=1e-3)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_validation_loss_is_that_of_all_supervised_tokens(log, narrow_base, size):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(narrow_base)
    total = 0.0
    for row in rows():
        with torch.no_grad():
            logprobs = model(torch.tensor([row["input_ids"]])).logits[0, :-1].log_softmax(-1)
        total -= sum(
            logprobs[place, label].item() for place, label in enumerate(row["labels"][1:]) if label != IGNORE_INDEX
        )
    evaluations = trained(log, narrow_base, learning_rate=1e-12, max_steps=1, per_device_batch_size=size)[1]
    assert evaluations == pytest.approx([total / sum(SUPERVISED)], rel=1e-6)


@pytest.mark.parametrize("alpha", [5.0, 15.0])
def test_noise_on_the_embeddings_is_as_strong_as_its_paper_says(log, narrow_base, alpha):
    """Uniform within alpha / sqrt(length × width), of the longest row of a batch as in padded batches."""
    from tests.tiny import HIDDEN

    trainer = make(log, narrow_base, neftune_noise_alpha=alpha, max_steps=1)
    embeddings = trainer.model.get_input_embeddings()
    add_hook, noise = embeddings.register_forward_hook, []

    def listen(module, inputs, output):
        if module.training:
            noise.append((output - module.weight[inputs[0]]).detach())

    def add_and_listen(hook):
        added = add_hook(hook)
        add_hook(listen)
        return added

    embeddings.register_forward_hook = add_and_listen  # the Trainer adds its hook when it starts
    trainer.train()
    strength = alpha / math.sqrt(max(LENGTHS) * HIDDEN)
    assert len(noise) == 1
    assert 0.99 * strength < noise[0].abs().max().item() < 1.0001 * strength
    assert noise[0].std().item() == pytest.approx(strength / math.sqrt(3), rel=0.02)


def test_noise_on_the_embeddings_changes_the_steps_and_no_validation(log, narrow_base):
    changes = {"learning_rate": 1e-12, "max_steps": 1}
    plain, noisy, again = (
        trained(log, narrow_base, neftune_noise_alpha=alpha, **changes) for alpha in (0.0, 15.0, 15.0)
    )
    assert noisy[0] == again[0]
    assert noisy[0] != pytest.approx(plain[0], rel=1e-4)
    assert noisy[1] == pytest.approx(plain[1], rel=1e-6)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # torch calls what it has deprecated itself
def test_a_compiled_model_takes_the_same_steps(log, narrow_base, monkeypatch):
    # Traced, but not made into machine code, which takes a minute and was looked at by hand.
    told = kernels.kernels
    with monkeypatch.context() as patch:
        patch.setattr(arguments, "kernels", lambda chosen: {**told(chosen), "torch_compile_backend": "eager"})
        compiled = make(log, narrow_base, torch_compile=True)
    compiled.train()
    assert type(compiled.model_wrapped).__name__ == "OptimizedModule"
    losses, evaluations, _ = trained(log, narrow_base)
    assert figures(compiled, "loss") == pytest.approx(losses, rel=1e-4)
    assert figures(compiled, "eval_loss") == pytest.approx(evaluations, rel=1e-4)
