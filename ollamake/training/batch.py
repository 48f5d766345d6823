"""Batches for the model: one flat row of tokens, or padded rows where a model needs them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, from_numpy

from ollamake.labels import IGNORE_INDEX
from ollamake.training.examples import Row


def flat(examples: Sequence[Sequence[Row]]) -> dict[str, Tensor]:
    """Return all rows of all examples one behind the other, without padding.

    `input_ids`, `labels` and `position_ids` are of shape (1, tokens), `lengths` of shape (rows,). Positions start again
    at 0 for every row. A row's first token is never a target: what precedes it is another row.
    """
    rows = [row for example in examples for row in example]
    batch = {
        "input_ids": np.concatenate([row.input_ids for row in rows])[None].astype(np.int64),
        "labels": np.concatenate([_targets(row) for row in rows])[None],
        "position_ids": np.concatenate([np.arange(len(row.input_ids)) for row in rows])[None],
        "lengths": np.array([len(row.input_ids) for row in rows]),
    }
    return {name: from_numpy(array) for name, array in batch.items()}


def padded(examples: Sequence[Sequence[Row]]) -> dict[str, Tensor]:
    """Return one row an example, padded to the longest: `input_ids`, `labels` and `attention_mask`, (rows, longest).

    `lengths` of shape (rows,) counts without the padding.
    """
    rows = [row for (row,) in examples]
    lengths = np.array([len(row.input_ids) for row in rows])
    shape = (len(rows), int(lengths.max()))
    ids, labels = np.zeros(shape, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
    for line, row in enumerate(rows):
        ids[line, : lengths[line]] = row.input_ids
        labels[line, : lengths[line]] = _targets(row)
    mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
    batch = {"input_ids": ids, "labels": labels, "attention_mask": mask, "lengths": lengths}
    return {name: from_numpy(array) for name, array in batch.items()}


def _targets(row: Row) -> np.ndarray:
    labels = np.array(row.labels, np.int64)
    labels[0] = IGNORE_INDEX
    return labels
