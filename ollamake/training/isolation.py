"""Whether a model can be trained on rows that lie one behind the other, without padding."""

from typing import Any

import numpy as np
import torch
from torch import nn

from ollamake.errors import ParamsError
from ollamake.training import attention
from ollamake.training.batch import flat, padded
from ollamake.training.examples import Row
from ollamake.training.head import Head

PROBE_TOKENS = (11, 16, 7)
# SmolLM2 in bfloat16 is 0.04 from itself by rounding alone, and 1.2 when it reads the row before.
TOLERANCE = 0.2
ROUNDING = 1e-6


def isolate(model: Any) -> bool:
    """Switch `model` to attention that keeps rows apart; return whether it then computes what it computed before.

    Looked at in numbers and not by architecture: recurrent layers carry one row over into the next, but so may
    attention layers of which nobody would think, and others add something that we would leave out. Where it does not,
    the model is left as it was.
    """
    before = model.config._attn_implementation  # noqa: SLF001
    rows = _probe(model)
    alone = torch.cat([_logits(model, padded([[row]])) for row in rows], dim=1)
    attention.register()
    try:
        model.set_attn_implementation(attention.NAME)
        together = _together(model, rows)
        if _apart(together, alone) < TOLERANCE and not _leaks(model, rows, together):
            return True
    except (TypeError, ValueError):  # a model without such a choice, or without such arguments
        pass
    model.config._attn_implementation = before  # noqa: SLF001
    return False


def _leaks(model: Any, rows: list[Row], together: torch.Tensor) -> bool:
    """Tell whether a row changes with the one before it. The sums are the same ones, so that no rounding hides it."""
    first, *others = rows
    changed = _together(model, [first._replace(input_ids=first.input_ids[::-1].copy()), *others])
    behind = slice(len(first.input_ids), None)
    return _apart(changed[:, behind], together[:, behind]) > ROUNDING


def plain_head(model: Any) -> Head | None:
    """Return the model's head if its logits are nothing but the last hidden states times that matrix, else None."""
    head = Head.of(model)
    if head is None:
        return None
    batch = padded([[row] for row in _probe(model)[:1]])
    logits = _logits(model, batch)
    with head.skipped():
        hidden = _logits(model, batch)
    made = hidden.to(head.matrix.weight.dtype) @ head.matrix.weight.T.detach()
    return head if _apart(made.float(), logits) < TOLERANCE else None


def refuse_packing(model: nn.Module) -> None:
    """Raise the ParamsError for packed rows and a model that would mix them."""
    raise ParamsError(
        f"packing: {type(model).__name__} lets the conversations of a packed row read each other",
        where="params.yaml",
        hint="`dvc exp run -S packing=false` trains on padded rows instead",
    )


def _probe(model: Any) -> list[Row]:
    words = model.get_input_embeddings().num_embeddings
    random = np.random.default_rng(0)
    texts = [random.integers(words, size=length).astype(np.int32) for length in PROBE_TOKENS]
    return [Row(ids, ids) for ids in texts]


def _together(model: Any, rows: list[Row]) -> torch.Tensor:
    return _logits(model, flat([rows]), rows=_layout(model, rows))


def _layout(model: Any, rows: list[Row]) -> attention.Rows:
    return attention.Rows([len(row.input_ids) for row in rows], model.device)


def _logits(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name not in ("labels", "lengths")}
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs, use_cache=False, **options).logits
    return logits.float()


def _apart(some: torch.Tensor, others: torch.Tensor) -> float:
    """Return how far two results are apart: 0 is equal, 1 as far as another text."""
    if some.shape != others.shape:
        return float("inf")
    return float((some - others).square().mean().sqrt() / others.std())
