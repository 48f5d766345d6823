"""The output matrix and the loss in one, a piece at a time, so that the logits of a batch never stand in memory.

torch's own `linear_cross_entropy` is a third of the speed of a plain product on a CPU in bfloat16 (docs/LOG.md).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

PIECE_ROWS = 512


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Return the cross entropy in nats, summed over the positions: a scalar in float32.

    `hidden` is of shape (positions, size), `weight` (words, size), both of one type; `targets` (positions,) are words.
    `smoothing` is the share of a target that goes to all words alike, as in `torch.nn.functional.cross_entropy`.
    """
    total: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, smoothing)  # type: ignore[no-untyped-call]
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are made on the way forward, while the probabilities are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, smoothing: float) -> Any:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        to_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(targets), PIECE_ROWS):
            piece = slice(start, start + PIECE_ROWS)
            logits = (hidden[piece] @ weight.T).float()
            loss, gradient = _loss(logits, targets[piece], smoothing)
            total += loss
            if to_hidden is not None:
                to_hidden[piece] = gradient.to(weight.dtype) @ weight
            if to_weight is not None:
                to_weight += (gradient.to(weight.dtype).T @ hidden[piece]).float()
        ctx.save_for_backward(to_hidden, to_weight)
        ctx.weight_type = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: torch.Tensor) -> Any:
        to_hidden, to_weight = ctx.saved_tensors
        return (
            None if to_hidden is None else to_hidden * scale.to(to_hidden.dtype),
            None if to_weight is None else (to_weight * scale).to(ctx.weight_type),
            None,
            None,
        )


def _loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed loss and its gradient by the logits, which it overwrites."""
    normalizer = logits.logsumexp(dim=1, keepdim=True)
    places = targets[:, None]
    loss = (normalizer - logits.gather(1, places)).sum() * (1 - smoothing)
    if smoothing:
        loss = loss + smoothing * (normalizer - logits.mean(dim=1, keepdim=True)).sum()
    gradient = logits.sub_(normalizer).exp_()
    if smoothing:
        gradient -= smoothing / logits.shape[1]
    gradient.scatter_add_(1, places, torch.full_like(places, smoothing - 1, dtype=gradient.dtype))
    return loss, gradient
