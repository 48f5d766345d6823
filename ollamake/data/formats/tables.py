"""Parquet and Arrow files: their rows in pieces that stay small, whatever the writer's batches are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ollamake.data.findings import Rejected
from ollamake.data.formats.batches import batches
from ollamake.data.formats.extent import plain, row_bytes
from ollamake.data.formats.file import refuse_bomb, unreadable
from ollamake.data.formats.rows import LONGEST_ROW_BYTES, Chunk, Refused, Row, too_long
from ollamake.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Table:
    """Rows of a table as an Arrow stream, the first of them being row number `first`."""

    first: int
    stream: bytes
    unit: ClassVar[str] = "row"

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield a row as Python values; a value that is absent is a field that the row does not have."""
        import pyarrow as pa

        table = pa.ipc.open_stream(self.stream).read_all()
        names = table.column_names
        columns = [_values(column) for column in table.columns]
        for number, values in enumerate(zip(*columns, strict=True), self.first):
            rejected = next((value for value in values if isinstance(value, Rejected)), None)
            row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            yield number, rejected or row


@dataclass
class Pieces:
    """Slices of batches that follow each other, until there are enough of them for a chunk."""

    first: int = 1
    count: int = 0
    bytes_held: int = 0
    slices: list["pa.RecordBatch"] = field(default_factory=list)

    def add(self, rows: "pa.RecordBatch", size: int) -> None:
        """Add rows that hold `size` bytes of text."""
        import pyarrow as pa

        self.slices.append(pa.RecordBatch.from_arrays([plain(column) for column in rows.columns], rows.schema.names))
        self.count += rows.num_rows
        self.bytes_held += size

    def take(self) -> Iterator[Table]:
        """Yield a chunk of what was added, if there is anything, and begin anew after it."""
        import pyarrow as pa

        if self.slices:
            table = pa.Table.from_batches(self.slices).combine_chunks()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            yield Table(self.first, sink.getvalue().to_pybytes())
        self.first, self.count, self.bytes_held, self.slices = self.first + self.count, 0, 0, []


def table_chunks(path: Path, magic: bytes, block_bytes: int) -> Iterator[Chunk]:
    """Yield the rows of the file that `magic` begins. Raises DataError when it is torn, damaged or a bomb."""
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            yield from _chunks(path, batches(path, file, magic), block_bytes)
    except OSError as error:
        # An error of the system has a number, one of pyarrow has none.
        raise unreadable(path, error) if error.errno else _broken(path, error) from error
    except (pa.ArrowException, ValueError, LookupError, MemoryError, RuntimeError, OverflowError) as error:
        raise _broken(path, error) from error


def _chunks(path: Path, found: Iterator["pa.RecordBatch"], block_bytes: int) -> Iterator[Chunk]:
    size_on_disk, bytes_out = path.stat().st_size, 0
    pieces = Pieces()
    for batch in found:
        if not bytes_out:
            _require_names(path, batch.schema.names)
        batch.validate(full=True)  # offsets that point elsewhere would read foreign memory
        sizes = row_bytes(batch)
        bytes_out += int(sizes.sum())
        refuse_bomb(path, bytes_out, size_on_disk)
        for start, stop in _cuts(sizes, block_bytes):
            size = int(sizes[start:stop].sum())
            if size > LONGEST_ROW_BYTES:
                yield from pieces.take()
                yield Refused(pieces.first, too_long(Table.unit), Table.unit)
                pieces.first += 1
                continue
            if pieces.bytes_held + size > block_bytes:
                yield from pieces.take()
            pieces.add(batch.slice(start, stop - start), size)
    yield from pieces.take()


def _cuts(sizes: Any, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield where rows of such sizes begin and end that hold up to `block_bytes` together, or are one."""
    import numpy as np

    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + block_bytes, side="right")))
        yield start, stop
        start = stop


def _values(column: "pa.ChunkedArray") -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, ArithmeticError):
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, ArithmeticError) as error:
        return Rejected("a value that Python cannot hold", f"{scalar.type}: {error}")


def _require_names(path: Path, names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        problem = f"has two columns named {twice[0]!r}" if twice else "has no columns"
        raise DataError(problem, where=str(path), hint="write it again with a column for each field of a row")


def _broken(path: Path, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DataError(
        f"is torn or damaged, or holds what cannot be read: {reason}",
        where=str(path),
        hint=f"write or fetch it again; `sha256sum {path}` tells whether a download is what it should be",
    )
