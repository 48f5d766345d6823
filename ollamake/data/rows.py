"""The rows of a JSONL file, one at a time, each either a JSON object or a reason why not."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ollamake.data.findings import Rejected
from ollamake.errors import DataError

LONGEST_LINE_BYTES = 16 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The first bytes of files that are often given in place of JSONL.
LOOKALIKES = {
    b"\xff\xfe": ("is UTF-16 text", "`iconv -f UTF-16 -t UTF-8` makes UTF-8 of it"),
    b"\xfe\xff": ("is UTF-16 text", "`iconv -f UTF-16 -t UTF-8` makes UTF-8 of it"),
    b"\x1f\x8b": ("is compressed with gzip", "`gunzip` unpacks it"),
    b"PK\x03\x04": ("is a zip archive", "`unzip` unpacks it"),
    b"PAR1": ("is a Parquet file", "only .jsonl files can be read so far"),
}
KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}
Row = dict[str, Any]


def require_file(path: Path) -> None:
    """Raise DataError unless `path` is a regular file with something in it that this user may read."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "not a file")
        raise DataError(f"is {kind}, not a file", where=str(path), hint="name a .jsonl file in data_source")
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(13, "Permission denied"))
    if not found.st_size:
        raise DataError("is empty", where=str(path), hint="it should hold one JSON object a line")


def rows(path: Path) -> Iterator[tuple[int, Row | Rejected]]:
    """Yield each line's number with its object, or with the reason why it is none; blank lines are passed over.

    Lines end at LF alone: U+2028, NEL and a lone CR are content. Raises DataError when the file is none that this
    could read, or changes on the way.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            _refuse_lookalikes(path, stream)
            yield from _rows(stream)
            after = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
        raise DataError("changed while it was read", where=str(path), hint="`dvc repro` once nothing writes to it")


def _rows(stream: BinaryIO) -> Iterator[tuple[int, Row | Rejected]]:
    number = 0
    while line := stream.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE_BYTES)
            yield number, Rejected(f"a line of more than {LONGEST_LINE_BYTES >> 20} MB")
        elif line.strip():
            yield number, parse(line)


def parse(line: bytes) -> Row | Rejected:
    """Return the JSON object that the line holds, or the reason why it holds none."""
    try:
        row = json.loads(
            line.strip().decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite
        )
    except Rejected as verdict:
        return verdict
    except UnicodeDecodeError as error:
        return Rejected("not valid UTF-8", f"byte {error.start + 1} is 0x{line[error.start]:02x}")
    except RecursionError:
        return Rejected("JSON nested too deeply")
    except json.JSONDecodeError as error:
        return Rejected("not valid JSON", f"{error.msg}, column {error.colno}")
    except ValueError as error:
        return Rejected("not valid JSON", str(error))  # a number of more digits than Python reads
    return row if isinstance(row, dict) else Rejected("JSON, but not an object", f"a {type(row).__name__}")


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Rejected("a key that stands twice", repr(next(key for key in keys if keys.count(key) > 1)))
    return row


def _no_number(text: str) -> NoReturn:
    raise Rejected("a number that JSON does not have", text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Rejected("a number that is too large", text)
    return number


def _refuse_lookalikes(path: Path, stream: BinaryIO) -> None:
    """Leave the stream at its first row, after a byte order mark if there is one."""
    start = stream.read(64)
    for signature, (problem, hint) in LOOKALIKES.items():
        if start.startswith(signature):
            raise DataError(problem, where=str(path), hint=hint)
    text = start.removeprefix(BYTE_ORDER_MARK)
    if text.lstrip().startswith(b"["):
        raise DataError(
            "holds a JSON array; there should be one object a line",
            where=f"{path}, line 1",
            hint="`jq -c '.[]' array.json > rows.jsonl` makes lines of an array",
        )
    stream.seek(len(start) - len(text))


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot be read: {error.strerror}",
        where=str(path),
        hint="data_source in params.yaml names the file; `ls -l` shows whether it is there and who may read it",
    )
