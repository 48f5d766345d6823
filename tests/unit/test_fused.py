"""The fused products against what PyTorch and PEFT compute step by step."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from ollamake.quiet import quiet_loading
from ollamake.training import cross_entropy as module
from ollamake.training.cross_entropy import linear_cross_entropy
from ollamake.training.fused import fuse

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", "init_lora_weights": False}
IDS = torch.arange(40).reshape(2, 20)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("pieces", [3, 512])
def test_the_loss_and_its_gradients_are_those_of_pytorch(smoothing, pieces, monkeypatch):
    monkeypatch.setattr(module, "PIECE_ROWS", pieces)
    torch.manual_seed(0)
    hidden, weight = torch.randn(10, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    targets = torch.randint(50, (10,))
    expected = cross_entropy(hidden @ weight.T, targets, reduction="sum", label_smoothing=smoothing) / 7
    wanted = torch.autograd.grad(expected, (hidden, weight))
    found = linear_cross_entropy(hidden, weight, targets, smoothing) / 7
    assert torch.allclose(found, expected, rtol=1e-6)
    for gradient, reference in zip(torch.autograd.grad(found, (hidden, weight)), wanted, strict=True):
        assert torch.allclose(gradient, reference, atol=1e-6)


def test_the_loss_of_a_frozen_matrix_makes_no_gradient_for_it():
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(9, 8)
    linear_cross_entropy(hidden, weight, torch.tensor([1, 2, 3, 4])).backward()
    assert hidden.grad is not None
    assert weight.grad is None


def adapted(narrow_base, **changes):
    torch.manual_seed(0)
    with quiet_loading():
        return get_peft_model(
            AutoModelForCausalLM.from_pretrained(narrow_base), LoraConfig(**{**LORA, **changes})
        ).train()


def step(model):
    model.zero_grad()
    output = model(input_ids=IDS, labels=IDS)
    output.loss.backward()
    return output.logits, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_fused_layers_compute_what_peft_computes(narrow_base):
    model = adapted(narrow_base)
    logits, gradients = step(model)
    assert fuse(model) == 14
    fused_logits, fused = step(model)
    assert torch.allclose(fused_logits, logits, atol=1e-4)
    assert fused.keys() == gradients.keys()
    assert len(fused) == 28
    for name, gradient in gradients.items():
        assert ((fused[name] - gradient).norm() / gradient.norm()).item() < 1e-4, name


def test_fused_layers_know_an_adapter_that_is_switched_off_or_merged(narrow_base):
    model = adapted(narrow_base).eval()
    fuse(model)
    with torch.no_grad():
        tuned = model(IDS).logits
        with model.disable_adapter():
            base = model(IDS).logits
        merged = model.merge_and_unload()(IDS).logits
    assert torch.equal(base, AutoModelForCausalLM.from_pretrained(narrow_base)(IDS).logits)
    assert not torch.allclose(tuned, base, atol=1e-2)
    assert torch.allclose(tuned, merged, atol=1e-3)


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_is_not_plain_is_left_to_peft(narrow_base, changes):
    assert fuse(adapted(narrow_base, **changes)) == 0
