"""Which files a data source stands for: a file, a folder of shards, or a folder that `datasets` saved."""

import os
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ollamake.data.formats.file import require_file, unreadable
from ollamake.data.formats.saved import saved_files
from ollamake.errors import DataError

LINES = {".jsonl", ".ndjson", ".json"}
DELIMITED = {".csv", ".tsv"}
TABLES = {".parquet", ".arrow", ".feather", ".ipc"}
PACKED = {".gz", ".zst"}
# They describe data and hold none.
DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
ALL = "all"
SHOWN = 5


def list_files(source: Path, pattern: str = ALL) -> list[Path]:
    """Return the data files that `source` stands for, each of them readable, in an order that is always the same.

    In a folder `pattern` chooses: all that have a suffix of a known format, or those whose path in the folder, or
    whose name, fits a glob. Hidden files are passed over. Raises DataError when nothing fits, or what fits is no
    file, may not be read, leads out of the folder, or has a name that other systems cannot hold.
    """
    _require_name(source)
    if not source.is_dir():
        require_file(source)
        return [source]
    files = saved_files(source) if pattern == ALL else []
    if not files:
        files = sorted(path for path in _walk(source, source.resolve()) if _fits(path.relative_to(source), pattern))
    if not files:
        raise _nothing(source, pattern)
    for path in files:
        _require_name(path)
        _require_inside(path, source)
        require_file(path)
    _require_distinct(files)
    return files


def is_data_file(name: str) -> bool:
    """Tell by its path, with / between the parts, whether a file is data: not hidden, with a suffix that is known."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return suffix_of(name) in LINES | DELIMITED | TABLES and path.name not in DESCRIPTIONS and not hidden


def suffix_of(name: str) -> str:
    """Return the suffix that tells the format, in lower case: ".jsonl" for "a.JSONL.gz"."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in PACKED else path.suffix


def _walk(folder: Path, top: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise unreadable(folder, error) from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, top)
        elif not path.is_dir():
            yield path
        elif not path.resolve().is_relative_to(top):
            raise _outside(path)


def _fits(path: Path, pattern: str) -> bool:
    name = path.as_posix()
    if pattern == ALL:
        return is_data_file(name)
    # As for the files of a hub data set, * stands for / too.
    return any(fnmatchcase(name, wanted) for wanted in (pattern, pattern.replace("**/", "*"), f"*/{pattern}"))


def _require_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise DataError("has a name that is not UTF-8", where=shown, hint="rename it with `mv`") from error


def _require_inside(path: Path, source: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        raise unreadable(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    if not target.is_relative_to(source.resolve()):
        raise _outside(path)


def _require_distinct(files: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in files:
        other = seen.setdefault(unicodedata.normalize("NFC", str(path)).casefold(), path)
        if other is not path:
            raise DataError(
                f"differs from {other.name} in upper and lower case only, which is one file on other systems",
                where=str(path),
                hint="rename one of them",
            )


def _outside(path: Path) -> DataError:
    return DataError(
        "is a symbolic link that leads out of the folder, where DVC would not see what changes",
        where=str(path),
        hint=f"`cp -rL` copies what it points to ({path.resolve()}) into the folder",
    )


def _nothing(source: Path, pattern: str) -> DataError:
    there = sorted(path.relative_to(source).as_posix() for path in _walk(source, source.resolve()))
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    holds = f"it holds {', '.join(there[:SHOWN])}{more}" if there else "it is empty"
    wanted = "no data file" if pattern == ALL else f"nothing that fits {pattern!r}"
    return DataError(
        f"holds {wanted}: {holds}",
        where=str(source),
        hint="data_files in params.yaml chooses the files: all (.jsonl, .json, .csv, .tsv, .parquet, .arrow, packed or "
        "not), or a pattern such as train-*.parquet",
    )
