"""The finished lines of all rows on disk, until it is decided which of them go where."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollamake.data.columns import each
from ollamake.files import read_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUFFER_BYTES = 1 << 20


class Spool:
    """Two scratch files in `folder`, lines and sketches. They have no name, so they go however this process ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = tempfile.TemporaryFile(dir=folder, buffering=BUFFER_BYTES)  # noqa: SIM115 - closed by __exit__
        self._sketches = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._sketches.close()

    def append(self, lines: bytes, sketches: "NDArray[np.uint32] | None") -> None:
        """Append the lines of some rows and, when near duplicates are looked for, as many sketches."""
        self._lines.write(lines)
        if sketches is not None:
            self._sketches.write(sketches.data)

    def sketches(self) -> Path:
        """Return a path to the sketches of all rows, readable while this is open."""
        self._sketches.flush()
        return Path(f"/proc/{os.getpid()}/fd/{self._sketches.fileno()}")

    def lines(self, lengths: "NDArray[Any]") -> Iterator[bytes]:
        """Yield the line of every row in their order; `lengths` are those of all lines, in bytes."""
        self._lines.seek(0)
        for (length,) in each(lengths):
            yield self._lines.read(length)

    def lines_of(self, rows: "NDArray[Any]", lengths: "NDArray[Any]") -> Iterator[bytes]:
        """Yield the lines of some rows, in any order."""
        self._lines.flush()
        starts = lengths.cumsum(dtype="i8") - lengths
        for start, length in each(starts[rows], lengths[rows]):
            yield read_at(self._lines.fileno(), length, start)
