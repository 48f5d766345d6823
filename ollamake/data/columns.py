"""What is kept in memory of every row: some sixty bytes of numbers, in one growing array for each."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 1 << 14


# What is known of a row, in the order of the columns; the hashes as bytes, the most significant first.
Entry = tuple[bytes, bytes, bytes, bytes, int, int, float, int, float]


class Columns:
    """One value for each usable row, in the order of the sources. The hashes are the first 64 bits of a sha256."""

    def __init__(self) -> None:
        self.content = array("Q")  # hash of all that is said
        self.place = array("Q")  # hash of the seed and the normal form of the opening
        self.answer = array("Q")  # hash of all that follows the opening
        self.identity = array("Q")  # hash of the row's own id; without one, that of the content
        self.length = array("I")  # of the written line, in bytes
        self.number = array("I")  # of the row in its file
        self.weight = array("f")  # how often it is to be trained on
        self.task = array("I")  # index into the names of the tasks
        self.order = array("d")  # what train_order sorts by

    def fill(self, entries: Sequence[Entry]) -> None:
        """Append the values of some rows."""
        for column, values in zip(vars(self).values(), zip(*entries, strict=True), strict=False):
            if column.typecode == "Q":
                hashes = array("Q", b"".join(values))
                if sys.byteorder == "little":
                    hashes.byteswap()
                column.extend(hashes)
            else:
                column.extend(values)

    def extend(self, later: "Columns") -> None:
        """Append the values of later rows."""
        for name, column in vars(self).items():
            column.extend(getattr(later, name))

    def __len__(self) -> int:
        return len(self.content)


def view(column: "array[Any]") -> "NDArray[Any]":
    """Return a numpy view of a column, which cannot grow while the view lives."""
    import numpy as np

    return np.frombuffer(column, dtype=column.typecode) if len(column) else np.empty(0, column.typecode)


def each(*columns: "NDArray[Any]") -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row as Python numbers; those of a whole column would take eight times its memory."""
    for first in range(0, len(columns[0]), BLOCK_ROWS):
        yield from zip(*(column[first : first + BLOCK_ROWS].tolist() for column in columns), strict=True)
