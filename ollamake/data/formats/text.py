"""The bytes of a text file: unpacked on the way where it is compressed, and without a byte order mark."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ollamake.data.formats.file import refuse_bomb, unreadable
from ollamake.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


class Text:
    """A stream of bytes. Raises DataError when they cannot be read, are torn, or unpack to far more than they are."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file, self._bytes_out = path, file, 0
        self.packing = packing_of(file.read(4))
        file.seek(0)
        self._unpacked = _unpacked(self.packing, file)
        self._start = self._read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)

    def read(self, size: int) -> bytes:
        """Return at least one and at most `size` bytes, or nothing at the end."""
        if start := self._start[:size]:
            self._start = self._start[size:]
            return start
        return self._read(size)

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, or all there are, and leave them to be read."""
        while len(self._start) < size and (block := self._read(size - len(self._start))):
            self._start += block
        return self._start[:size]

    def _read(self, size: int) -> bytes:
        try:
            block = self._unpacked.read(size)
        except OSError as error:
            # An error of the system has a number, one of an unpacker has none.
            raise unreadable(self._path, error) if error.errno else self._broken(error) from error
        except (EOFError, ValueError, zlib.error) as error:  # pyarrow's errors are ValueErrors
            raise self._broken(error) from error
        self._bytes_out += len(block)
        if self.packing:
            refuse_bomb(self._path, self._bytes_out, self._file.tell())
        return block

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            f"is torn or damaged, its {self.packing} stream cannot be unpacked to the end: {error}",
            where=str(self._path),
            hint=f"`{'zstd' if self.packing == 'zstd' else 'gzip'} -t {self._path}` checks it; fetch or write it again",
        )


@contextmanager
def open_text(path: Path) -> Iterator[Text]:
    """Open a file for reading its text."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        yield Text(path, file)


def packing_of(start: bytes) -> str:
    """Return "gzip", "zstd", or "" for a file that starts with these bytes."""
    return next((name for magic, name in PACKED.items() if start.startswith(magic)), "")


def _unpacked(packing: str, file: BinaryIO) -> Readable:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    if packing == "zstd":
        import pyarrow as pa

        stream: Readable = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return stream
    return file
