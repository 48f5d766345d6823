"""Plain LoRA layers computed as one: fewer passes over memory than PEFT's layer by layer, the same numbers otherwise.

PEFT casts the layer's input to the adapter's type and back, and adds the two results in passes of their own. Here the
small products are added up inside the large ones, as Unsloth does on a GPU.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable


class FusedLora(Linear):
    """PEFT's LoRA layer with one autograd step for base layer and adapter; anything but plain LoRA is left to PEFT."""

    def forward(self, x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """Return the layer's output; `x` is of shape (..., in)."""
        if self.disable_adapters or self.merged or args or options:
            answer: torch.Tensor = super().forward(x, *args, **options)
            return answer
        (name,) = self.active_adapters
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        with torch.autocast(x.device.type, enabled=False):
            tensors = (x, self.base_layer.weight, down, up)
            result: torch.Tensor = _LoraProduct.apply(*tensors, self.scaling[name], kind)  # type: ignore[no-untyped-call]
            bias = self.base_layer.bias
            return result if bias is None else result + bias.to(kind)


class _LoraProduct(torch.autograd.Function):
    """x Wᵀ + s (x Aᵀ) Bᵀ, and its gradients by x, A and B; W is frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        kind: torch.dtype,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(kind)
        weight, small_down, small_up = weight.to(kind), down.to(kind), up.to(kind)
        inner = rows @ small_down.T
        ctx.save_for_backward(rows, weight, small_down, small_up, inner)
        ctx.scale, ctx.shape, ctx.kinds = scale, x.shape, (x.dtype, down.dtype, up.dtype)
        return (rows @ weight.T).addmm_(inner, small_up.T, alpha=scale).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        rows, weight, down, up, inner = ctx.saved_tensors
        kind_x, kind_down, kind_up = ctx.kinds
        gradient = gradient.reshape(-1, gradient.shape[-1]).to(weight.dtype)
        through = gradient @ up
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(through, down, alpha=ctx.scale).view(ctx.shape).to(kind_x)
        to_down = (through.T @ rows).to(kind_down).mul_(ctx.scale)
        to_up = (gradient.T @ inner).to(kind_up).mul_(ctx.scale)
        return to_x, None, to_down, to_up, None, None


def fuse(model: nn.Module) -> int:
    """Let every plain LoRA layer of `model` compute as one; return how many there are."""
    layers = [module for module in model.modules() if _plain(module)]
    for layer in layers:
        layer.__class__ = FusedLora
    return len(layers)


def _plain(module: Any) -> bool:
    if type(module) is not Linear or type(module.base_layer) is not nn.Linear or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    return (
        name in module.lora_A
        and isinstance(module.lora_dropout[name], nn.Identity)
        and not module.lora_variant
        and module.lora_B[name].bias is None
        and not module.base_layer.weight.requires_grad
        and (module.base_layer.bias is None or not module.base_layer.bias.requires_grad)
    )
