"""Rows with a judgement, read from memory-mapped files: two answers of which one is better, or one with a thumb."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ollamake.errors import DataError
from ollamake.labels import IGNORE_INDEX
from ollamake.training.examples import Examples
from ollamake.training.settings import Task

# The column that only rows of a task have, and what such a row is called.
JUDGEMENTS = {"dpo": ("rejected_ids", "a rejected answer"), "kto": ("desirable", "a thumb")}


class RatedRows:
    """A dataset of judged answers as TRL's collators take them, in the order that `order` has.

    A row of dpo is `prompt_ids`, `chosen_ids` and `rejected_ids`, one of kto `prompt_ids`, `completion_ids` and `label`
    (True for a thumb up): lists of the token ids that tokenize wrote, never tokenized again. An answer ends with its
    last label: what a template writes after the end token is nothing to prefer.
    """

    def __init__(self, path: Path, task: Task, order: Examples) -> None:
        self._rows, self._task, self._order = _map(path), task, order

    def set_epoch(self, epoch: int) -> None:
        """Go over to the order of `epoch`."""
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = int(self._order.places[index])
        row = {name: self._rows[name][place] for name in ("input_ids", "labels", "prompt_length")}
        ids, start = row["input_ids"].values.to_numpy(), row["prompt_length"].as_py()
        end = int(np.flatnonzero(row["labels"].values.to_numpy() != IGNORE_INDEX)[-1]) + 1
        prompt, answer = ids[:start].tolist(), ids[start:end].tolist()
        judgement = self._rows[JUDGEMENTS[self._task][0]][place].as_py()
        if self._task == "dpo":
            return {"prompt_ids": prompt, "chosen_ids": answer, "rejected_ids": judgement}
        return {"prompt_ids": prompt, "completion_ids": answer, "label": judgement}


def collate_thumbs(collate: Callable[[list[dict[str, Any]]], Any], examples: Sequence[dict[str, Any]]) -> Any:
    """Return a batch of kto rows, each with the answer to the row before beside its own.

    How far the model moves on answers that do not fit is KTO's measure of how far it has moved at all. TRL pairs rows
    so in the order of the file; the epoch's order makes other batches.
    """
    others = [examples[-1], *examples[:-1]]
    pairs = zip(examples, others, strict=True)
    return collate([{**row, "KL_completion_ids": other["completion_ids"]} for row, other in pairs])


def require_rows_of(task: Task, *paths: Path) -> None:
    """Raise DataError when a tokenized file holds rows of another task than `task`."""
    for path in paths:
        rows = _map(path)
        for name, (column, noun) in JUDGEMENTS.items():
            with_one = rows.num_rows - rows[column].null_count if column in rows.column_names else 0
            expected = rows.num_rows if name == task else 0
            if with_one != expected:
                raise DataError(
                    f"task is {task}, and {with_one:,} of {rows.num_rows:,} rows have {noun}",
                    where=str(path),
                    hint="`dvc repro tokenize` writes the rows of this task; "
                    "`python -m ollamake data check` tells what the records hold",
                )


def _map(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
