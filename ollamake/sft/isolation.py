"""The check that a model keeps the conversations of a packed row apart."""

from inspect import signature
from typing import Any

import numpy as np
import torch

from ollamake.errors import ParamsError
from ollamake.sft.batch import collate
from ollamake.sft.examples import Row

PROBE_TOKENS = 16
# SmolLM2 in bfloat16 is 0.04 from itself by rounding alone, and 1.2 when it reads the row before.
TOLERANCE = 0.2


def require_isolation(model: Any) -> None:
    """Raise ParamsError unless `model` computes for each row of a pack what it computes for that row alone.

    Looked at in numbers and not by architecture: recurrent layers carry one row over into the next, but so do attention
    layers of which nobody would think (OPT in transformers 5.23 takes position ids and builds its mask without them).
    """
    if "position_ids" in signature(model.forward).parameters and leak(model) < TOLERANCE:
        return
    raise ParamsError(
        f"packing: {type(model).__name__} lets the conversations of a packed row read each other",
        where="params.yaml",
        hint="`dvc exp run -S packing=false` trains in batches of similar length instead",
    )


def leak(model: Any) -> float:
    """Return how far rows in a pack are from the same rows alone: 0 is equal, 1 as far as another text."""
    words = np.random.default_rng(0).integers(model.get_input_embeddings().num_embeddings, size=(2, PROBE_TOKENS))
    first, second = (Row(ids, ids) for ids in words)
    alone, packed = (_logits(model, pack) for pack in ([[first], [second]], [[second, first], [first, second]]))
    difference = packed[:, PROBE_TOKENS:] - alone
    return float(difference.square().mean().sqrt() / alone.std())


def _logits(model: Any, examples: list[list[Row]]) -> torch.Tensor:
    batch = collate(examples)
    del batch["labels"], batch["lengths"]
    with torch.no_grad():
        logits: torch.Tensor = model(**batch, use_cache=False).logits
    return logits.float()
