"""Files that are replaced whole or not at all, their hashes, and room for them."""

import configparser
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ollamake.errors import DiskError

BLOCK_BYTES = 1 << 20


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; on success flush it to disk and rename it, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty partial folder beside `path`; on success it takes the place of `path`, on failure it goes.

    Where `path` is a symbolic link, the folder that it points to is replaced.
    """
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    old = path.with_name(f"{partial.name}-old")
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                sync(file)
        # Removing takes its time, renaming does not: what stands under the real name is never half a folder.
        if path.exists():
            _set_aside(path, old)
        partial.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _set_aside(path: Path, old: Path) -> None:
    """Rename a folder, or remove it where it cannot be renamed."""
    try:
        path.rename(old)
    except OSError as error:
        if error.errno != errno.EXDEV:  # which overlayfs says of a folder that comes from a container's image
            raise
        shutil.rmtree(path)


def sync(file: Path) -> None:
    """Force what was written to `file` out to the disk, so that a rename never points at missing bytes."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, keys in the order given, with a newline at the end."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the JSON content of `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_jsonl(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that `write_jsonl` wrote."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        return [json.loads(line) for line in stream]


def sha256(path: Path) -> str:
    """Return the sha256 of the file, 64 hex digits, reading it in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_at(descriptor: int, size_bytes: int, start: int) -> bytes:
    """Return `size_bytes` from `start` on, fewer at the end of the file; the system may hand over less at a time."""
    part = os.pread(descriptor, size_bytes, start)
    if not part or len(part) == size_bytes:
        return part
    return part + read_at(descriptor, size_bytes - len(part), start + len(part))


def require_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise DiskError unless the file system of `folder` has `needed_bytes` free, with 5 % to spare."""
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes * 1.05:
        raise DiskError(
            f"{purpose} needs {needed_bytes / 1e6:,.0f} MB, {free_bytes / 1e6:,.0f} MB are free",
            where=str(folder),
            hint="free some space (`dvc gc --workspace --all-experiments --dry` shows what DVC could drop), "
            "then run `dvc repro` again",
        )


def require_writable(*folders: Path) -> None:
    """Raise DiskError where this user may not write into one of the folders; those that are not there are left out."""
    closed = [str(folder) for folder in folders if folder.exists() and not os.access(folder, os.W_OK | os.X_OK)]
    if closed:
        raise DiskError(
            "nothing can be written there: there is no right to, or the file system is read-only",
            where=closed[0] + (f" and {len(closed) - 1} more" if len(closed) > 1 else ""),
            hint=f"`ls -ld {closed[0]}` and `findmnt --target {closed[0]}` tell which; then run it again",
        )


def dvc_cache(settings: Path = Path(".dvc")) -> Path:
    """Return the folder of DVC's cache as the repository's own settings have it; asking DVC would take a second."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error):  # for DVC to tell of
        parser.read([settings / "config", settings / "config.local"], encoding="utf-8")
    return settings / parser.get("cache", "dir", fallback="cache").strip("\"'")
