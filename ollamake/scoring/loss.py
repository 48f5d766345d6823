"""How likely the model finds the reference answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ollamake.labels import IGNORE_INDEX
from ollamake.progress import Advance
from ollamake.scoring.items import Item, batches

# Padded tokens computed at once. Fixed, so that the loss depends on no batch size; at this many, the logits of a
# vocabulary of 50,000 take 0.4 GB.
BATCH_TOKENS = 2048


def supervised_nats(
    model: Any, items: Sequence[Item], advance: Advance, batch_tokens: int = BATCH_TOKENS
) -> list[float]:
    """Return the cross entropy in nats of each item, summed over its supervised tokens."""
    nats: dict[str, float] = {}
    for batch in batches(items, _length, lambda count, longest: count * longest <= batch_tokens):
        for item, total in zip(batch, _nats(model, batch), strict=True):
            nats[item.id] = total
        advance(len(batch))
    return [nats[item.id] for item in items]


def _nats(model: Any, batch: Sequence[Item]) -> list[float]:
    """Return the cross entropy of each item of the batch, summed in float64."""
    inputs = _padded([item.input_ids for item in batch], 0).to(model.device)
    targets = _padded([item.labels for item in batch], IGNORE_INDEX)[:, 1:].to(model.device)
    # Only the columns in which some row has a target: position t predicts token t + 1.
    positions = (targets != IGNORE_INDEX).any(dim=0).nonzero().squeeze(1)
    # No attention mask: the padding comes last, where a causal model does not look.
    logits = model(input_ids=inputs, use_cache=False, logits_to_keep=positions).logits
    kept = targets[:, positions]
    supervised = kept != IGNORE_INDEX
    losses = torch.zeros(kept.shape, dtype=torch.float64, device=kept.device)
    losses[supervised] = cross_entropy(logits[supervised].float(), kept[supervised], reduction="none").double()
    nats: list[float] = losses.sum(dim=1).tolist()
    return nats


def _padded(rows: Sequence[list[int]], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def _length(item: Item) -> int:
    return len(item.input_ids)
