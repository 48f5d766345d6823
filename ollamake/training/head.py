"""The output matrix of a model, left out of its forward pass so that the loss computes it for what carries loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear


class Head:
    """The output matrix of a causal language model: a plain linear layer without bias, which ends its forward pass.

    While it is `skipped`, the model returns its last hidden states where its logits would be. This goes through the
    model's own forward pass, so that what wraps the model (DDP, compilation) notices nothing.
    """

    def __init__(self, matrix: nn.Linear) -> None:
        self.matrix, self._skipping = matrix, False
        matrix.forward = MethodType(self._forward, matrix)  # type: ignore[method-assign]

    @staticmethod
    def of(model: Any) -> "Head | None":
        """Return the head of `model`, or None where it is more than a plain linear layer."""
        matrix = model.get_output_embeddings()
        return Head(matrix) if type(matrix) is nn.Linear and matrix.bias is None else None

    def _forward(self, matrix: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self._skipping else linear(hidden, matrix.weight)

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Let the model return hidden states."""
        self._skipping = True
        try:
            yield
        finally:
            self._skipping = False
