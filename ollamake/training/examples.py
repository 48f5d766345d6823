"""The tokenized rows, read from memory-mapped files, and the examples that training makes of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ollamake.labels import IGNORE_INDEX
from ollamake.training.order import grouped_by_length, shuffled


class Row(NamedTuple):
    """One tokenized conversation or piece of text: token ids and labels, both of shape (tokens,)."""

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]


class Examples:
    """A dataset of examples, each a list of rows: one, or the several of a packed row.

    `set_epoch` puts them into the order of an epoch. The order lives here and not in a sampler because accelerate hands
    the epoch on to a dataset in every case, but not to the sampler of several processes that resume within an epoch.
    """

    def __init__(self, rows: pa.Table, packs: pa.Table | None, order: Callable[[int], NDArray[Any]]) -> None:
        self._rows, self._packs, self._order = rows, packs, order
        self.epoch, self.places = 0, order(0)
        self._blanks = 0

    def set_epoch(self, epoch: int) -> None:
        """Go over to the order of `epoch`."""
        if epoch != self.epoch:
            self.epoch, self.places = epoch, self._order(epoch)

    def fill_up(self, batch: int) -> None:
        """End on a whole batch of so many examples, with blank ones that teach nothing.

        Several processes need equal shares of a batch; accelerate would give them rows of the beginning twice.
        """
        self._blanks = -len(self.places) % batch

    @property
    def packed(self) -> bool:
        """Whether an example may be several rows."""
        return self._packs is not None

    def __len__(self) -> int:
        return len(self.places) + self._blanks

    def __getitem__(self, index: int) -> list[Row]:
        if index >= len(self):
            raise IndexError(index)  # where iteration ends
        if index >= len(self.places):
            return [Row(np.zeros(1, np.int32), np.full(1, IGNORE_INDEX, np.int32))]
        place = int(self.places[index])
        return [self._row(member) for member in ([place] if self._packs is None else _list(self._packs, "rows", place))]

    def _row(self, place: int) -> Row:
        return Row(_list(self._rows, "input_ids", place), _list(self._rows, "labels", place))


def training_examples(train: Path, packs: Path, train_order: str, batch: int, seed: int) -> Examples:
    """Return the packed rows if there are any, else the rows of `train`, without reading them into memory.

    `train_order` is `random`, `grouped` by length within what is left to chance, or any other word for the order of the
    file. `batch` is the number of examples of an optimizer step.
    """
    rows, packed = _map(train), _map(packs)
    lengths = _lengths(rows, "input_ids")
    firsts = np.arange(len(lengths))
    if packed.num_rows:
        members, counts = pc.list_flatten(packed["rows"]).to_numpy(), _lengths(packed, "rows")
        starts = np.cumsum(counts) - counts
        lengths, firsts = np.add.reduceat(lengths[members], starts), members[starts]
    if train_order == "random":
        order: Callable[[int], NDArray[Any]] = partial(shuffled, len(lengths), seed)
    elif train_order == "grouped":
        order = partial(grouped_by_length, lengths, batch, seed)
    else:
        order = partial(_always, np.argsort(firsts, kind="stable"))
    return Examples(rows, packed if packed.num_rows else None, order)


def validation_examples(val: Path) -> Examples:
    """Return the rows of `val`, longest first: sorted so, their batches waste the least."""
    rows = _map(val)
    return Examples(rows, None, partial(_always, np.argsort(-_lengths(rows, "input_ids"), kind="stable")))


def _always(order: NDArray[Any], _epoch: int) -> NDArray[Any]:
    return order


def _map(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _lengths(table: pa.Table, column: str) -> NDArray[np.int64]:
    return np.asarray(pc.list_value_length(table[column]), np.int64)


def _list(table: pa.Table, column: str, place: int) -> Any:
    return table[column][place].values.to_numpy()
