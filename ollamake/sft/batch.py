"""Batches for the model, made so that no conversation of a packed row sees another."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, from_numpy

from ollamake.labels import IGNORE_INDEX
from ollamake.sft.examples import Row


def collate(examples: Sequence[Sequence[Row]]) -> dict[str, Tensor]:
    """Return `input_ids` and `labels` of shape (examples, longest), and `lengths` (examples,) without the padding.

    Examples of one row each come with an `attention_mask`. Packed ones come without, and with `position_ids` that start
    again at 0 for every row, and for the padding: from these transformers (masking_utils.py) makes the mask that keeps
    rows apart, and only when there is no other mask. A row's first token is never a target: what precedes it is another
    row. FlashAttention reads such positions in batches of one example alone (`_is_packed_sequence`).
    """
    lengths = np.array([sum(len(row.input_ids) for row in example) for example in examples])
    shape = (len(examples), int(lengths.max()))
    batch = {"input_ids": np.zeros(shape, np.int64), "labels": np.full(shape, IGNORE_INDEX, np.int64)}
    positions = np.zeros(shape, np.int64)
    for line, example in enumerate(examples):
        start = 0
        for row in example:
            end = start + len(row.input_ids)
            batch["input_ids"][line, start:end] = row.input_ids
            batch["labels"][line, start + 1 : end] = row.labels[1:]
            positions[line, start:end] = np.arange(end - start)
            start = end
        positions[line, start:] = np.arange(shape[1] - start)
    if any(len(example) > 1 for example in examples):
        batch["position_ids"] = positions
    else:
        batch["attention_mask"] = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
    return {name: from_numpy(array) for name, array in {**batch, "lengths": lengths}.items()}
