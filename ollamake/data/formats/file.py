"""A data file as such: whether it can be read, and whether it stays as it is while that is done."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ollamake.errors import DataError

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Text shrinks to a fifth, repetitive text to a fiftieth. What grows by more is made to fill disks and memories.
GREATEST_RATIO = 100
ALWAYS_ALLOWED_BYTES = 64 << 20


def require_file(path: Path) -> None:
    """Raise DataError unless `path` is a regular file with something in it that this user may read."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "not a file")
        raise DataError(f"is {kind}, not a file", where=str(path), hint="name a data file in data_source")
    if not os.access(path, os.R_OK):
        raise unreadable(path, PermissionError(13, "Permission denied"))
    if not found.st_size:
        raise DataError("is empty", where=str(path), hint="it should hold rows, such as one JSON object a line")


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise DataError when the file changes, or is replaced, while the block runs; also when the block fails for it."""
    before = _state(path)
    try:
        yield
    except DataError as error:
        if _state(path) != before:
            raise _changed(path) from error
        raise
    if _state(path) != before:
        raise _changed(path)


def refuse_bomb(path: Path, bytes_out: int, bytes_in: int) -> None:
    """Raise DataError when far more bytes came out of a compressed file than were read from it."""
    if bytes_out > max(ALWAYS_ALLOWED_BYTES, GREATEST_RATIO * bytes_in):
        raise DataError(
            f"unpacks to more than {GREATEST_RATIO} times its size, as no real text does",
            where=str(path),
            hint="look at what it holds; if it is right, unpack it and name the unpacked file in data_source",
        )


def unreadable(path: Path, error: OSError) -> DataError:
    """Return what to raise when the system refuses to read `path`."""
    return DataError(
        f"cannot be read: {error.strerror or error}",
        where=str(path),
        hint="data_source in params.yaml names the file; `ls -l` shows whether it is there and who may read it",
    )


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _changed(path: Path) -> DataError:
    return DataError("changed while it was read", where=str(path), hint="`dvc repro` once nothing writes to it")
