"""Optimizers and schedules against what torch itself computes from the same gradients and formulas."""

import math

import pytest
import torch
from pydantic import ValidationError

from ollamake.errors import ParamsError
from ollamake.training import quantized
from ollamake.training.optimizer import choose_optimizer
from ollamake.training.quantized import quantization, refuse_old_gpu, refuse_unable
from tests.training import settings

RATE, DECAY, BETAS, EPSILON = 0.01, 0.1, (0.8, 0.95), 1e-6
CHOSEN = {
    "learning_rate": RATE,
    "weight_decay": DECAY,
    "adam_beta1": BETAS[0],
    "adam_beta2": BETAS[1],
    "adam_epsilon": EPSILON,
    "sgd_momentum": 0.7,
}


class Model(torch.nn.Module):
    """A matrix that decays, and a bias and a norm that do not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.matrix = torch.nn.Linear(128, 64)
        self.norm = torch.nn.LayerNorm(64)

    def forward(self, x):
        return self.norm(self.matrix(x)).square().sum()


def trainer_of(folder, model, **changes):
    """A Trainer with our arguments and our optimizer."""
    from transformers import Trainer

    from ollamake.training.arguments import training_arguments

    chosen = settings(**{**CHOSEN, **changes})
    trainer = Trainer(model=model, args=training_arguments(chosen, torch.device("cpu"), folder))
    trainer.optimizer_cls_and_kwargs = choose_optimizer(chosen)
    return trainer


def give_gradients(model, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def step_both(folder, name, make, steps=3):
    """The largest difference after some steps of our optimizer and of the one that `make` makes of (groups)."""
    ours, theirs = Model(), Model()
    optimizer = trainer_of(folder, ours, optimizer=name).create_optimizer()
    reference = make(
        [
            {"params": [theirs.matrix.weight], "weight_decay": DECAY},
            {"params": [theirs.matrix.bias, theirs.norm.weight, theirs.norm.bias], "weight_decay": 0.0},
        ]
    )
    for step in range(steps):
        for model, one in ((ours, optimizer), (theirs, reference)):
            give_gradients(model, step)
            one.step()
    return max((a - b).abs().max().item() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("adamw", lambda groups: torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON)),
        ("adam", lambda groups: torch.optim.Adam(groups, lr=RATE, betas=BETAS, eps=EPSILON)),
        ("sgd", lambda groups: torch.optim.SGD(groups, lr=RATE, momentum=0.7)),
    ],
)
def test_an_optimizer_takes_torch_s_own_steps_and_spares_biases_and_norms_the_decay(tmp_path, name, make):
    assert step_both(tmp_path, name, make) < 1e-7
    forgetful = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
    assert step_both(tmp_path, name, lambda groups: forgetful(groups, lr=RATE)) > 1e-4


def test_adafactor_takes_the_steps_of_its_paper_at_the_given_rate(tmp_path):
    """By hand, for the first step: the second moments begin at the squares, and the step is clipped to an rms of 1."""
    model = Model()
    before, parameter = model.matrix.weight.detach().clone(), model.matrix.weight
    give_gradients(model, 0)
    squares = parameter.grad.square() + 1e-30
    rows, columns = squares.mean(dim=1, keepdim=True), squares.mean(dim=0, keepdim=True)
    update = parameter.grad / (rows * columns / rows.mean()).sqrt()
    update /= max(1.0, update.square().mean().sqrt().item())
    trainer_of(tmp_path, model, optimizer="adafactor").create_optimizer().step()
    assert torch.allclose(parameter, before * (1 - RATE * DECAY) - RATE * update, atol=1e-6)


def test_an_8_bit_optimizer_takes_nearly_the_same_steps_with_a_quarter_of_the_state(tmp_path):
    difference = step_both(
        tmp_path, "adamw_8bit", lambda groups: torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON), steps=1
    )
    assert 0 < difference < 0.1 * RATE
    model = Model()
    optimizer = trainer_of(tmp_path, model, optimizer="adamw_8bit").create_optimizer()
    give_gradients(model, 0)
    optimizer.step()
    assert optimizer.state[model.matrix.weight]["state1"].dtype == torch.uint8


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor", "adamw_8bit"])
def test_an_optimizer_goes_on_from_its_saved_state_byte_for_byte(tmp_path, name):
    def run(interrupted):
        model = Model()
        optimizer = trainer_of(tmp_path, model, optimizer=name).create_optimizer()
        for step in range(4):
            if interrupted and step == 2:
                torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
                weights, state = torch.load(tmp_path / "state.pt")
                model = Model()
                model.load_state_dict(weights)
                optimizer = trainer_of(tmp_path, model, optimizer=name).create_optimizer()
                optimizer.load_state_dict(state)
            give_gradients(model, step)
            optimizer.step()
        return torch.cat([part.detach().flatten() for part in model.parameters()])

    assert torch.equal(run(interrupted=True), run(interrupted=False))


STEPS, WARMUP = 20, 4


def after_warmup(curve):
    """The rates of a schedule: a straight line up, then `curve` of the share of the remaining steps that is done."""
    rest = STEPS - WARMUP
    return [step / WARMUP if step < WARMUP else curve((step - WARMUP) / rest) for step in range(STEPS)]


CURVES = {
    "linear": ({}, lambda done: 1 - done),
    "cosine": ({}, lambda done: (1 + math.cos(math.pi * done)) / 2),
    "constant": ({}, lambda done: 1.0),
    "polynomial": ({"lr_power": 2.0}, lambda done: (1 - done) ** 2),
    "cosine_restarts": ({"lr_cycles": 3}, lambda done: (1 + math.cos(math.pi * (3 * done % 1))) / 2),
}


@pytest.mark.parametrize("warmup", [{"warmup_steps": WARMUP}, {"warmup_ratio": WARMUP / STEPS}], ids=str)
@pytest.mark.parametrize("name", CURVES)
def test_every_schedule_follows_its_curve_step_by_step(tmp_path, name, warmup):
    extra, curve = CURVES[name]
    trainer = trainer_of(tmp_path, Model(), lr_scheduler=name, max_steps=STEPS, **extra, **warmup)
    trainer.create_optimizer_and_scheduler(STEPS)
    rates = []
    for _ in range(STEPS):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert rates == pytest.approx([RATE * share for share in after_warmup(curve)], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("rate", [1e-3, 1e-8])
def test_a_polynomial_schedule_ends_at_zero_whatever_the_rate(tmp_path, rate):
    trainer = trainer_of(tmp_path, Model(), lr_scheduler="polynomial", learning_rate=rate, max_steps=2)
    trainer.create_optimizer_and_scheduler(2)
    for _ in range(2):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert trainer.optimizer.param_groups[0]["lr"] == 0


def test_without_a_need_nothing_heavy_is_asked(monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: pytest.fail("looked for bitsandbytes"))
    for changes in ({}, {"method": "full"}, {"optimizer": "adafactor"}):
        refuse_unable(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "way_out"), [({"method": "qlora"}, "method=lora"), ({"optimizer": "adamw_8bit"}, "optimizer=adamw")]
)
def test_a_missing_bitsandbytes_is_named_with_what_brings_it_and_what_does_without(monkeypatch, changes, way_out):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match="which is not installed") as caught:
        refuse_unable(settings(**changes))
    assert "pip install bitsandbytes" in caught.value.hint
    assert way_out in caught.value.hint


def test_a_library_that_does_not_load_is_refused_with_its_reason(monkeypatch):
    monkeypatch.setattr(quantized, "_broken", lambda: "libcudart.so.11 cannot be opened")
    with pytest.raises(ParamsError, match="method: qlora needs bitsandbytes, .* libcudart.so.11") as caught:
        refuse_unable(settings(method="qlora"))
    assert "method=lora" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has memory to page out of")
@pytest.mark.parametrize("optimizer", ["paged_adamw", "paged_adamw_8bit"])
def test_paged_optimizers_are_refused_without_a_gpu(optimizer):
    with pytest.raises(
        ParamsError, match=f"optimizer: {optimizer} .* no GPU here\n.*={optimizer.removeprefix('paged_')}` "
    ):
        refuse_unable(settings(optimizer=optimizer, method="qlora"))


def test_what_this_machine_can_do_is_not_refused():
    for changes in ({"method": "qlora"}, {"method": "qlora", "qlora_bits": 8}, {"optimizer": "adamw_8bit"}):
        refuse_unable(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "capability", "bf16", "way_out"),
    [
        ({"qlora_bits": 8}, (7, 0), False, "qlora_bits=4"),
        ({"qlora_bits": 8}, (5, 2), False, "method=lora"),
        ({"qlora_bits": 4}, (5, 2), False, "method=lora"),
        ({"qlora_compute": "bf16"}, (7, 5), False, "qlora_compute=fp16"),
    ],
)
def test_a_gpu_that_is_too_old_is_refused_with_what_it_can_do(changes, capability, bf16, way_out):
    with pytest.raises(ParamsError) as caught:
        refuse_old_gpu(settings(method="qlora", **changes), capability, bf16=bf16)
    assert way_out in caught.value.hint
    refuse_old_gpu(settings(method="qlora", **changes), (8, 0), bf16=True)
    refuse_old_gpu(settings(**changes), capability, bf16=bf16)


def test_the_quantization_is_as_the_parameters_say():
    four = quantization(settings(method="qlora", qlora_type="fp4", qlora_double_quant=False), bf16=True)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "fp4", False)
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantization(settings(method="qlora"), bf16=False).bnb_4bit_compute_dtype == torch.float32
    half = quantization(settings(method="qlora", qlora_compute="fp16"), bf16=True)
    assert half.bnb_4bit_compute_dtype == torch.float16
    assert quantization(settings(method="qlora", qlora_bits=8), bf16=True).load_in_8bit


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lora_init": "orthogonal", "lora_rank": 3}, "lora_rank is 3"),
        ({"lora_init": "pissa", "method": "qlora"}, "lora_init is pissa"),
        ({"lora_bias": "all", "method": "qlora"}, "lora_bias is all"),
        ({"lora_init": "pissa", "distributed": "deepspeed", "deepspeed_stage": 3}, "lora_init is pissa"),
    ],
)
def test_what_peft_and_bitsandbytes_cannot_do_together_is_refused_by_params_yaml_alone(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        settings(**changes)
