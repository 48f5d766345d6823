"""Hashes of many files at once. hashlib lets other threads run while it computes, so each core hashes a file."""

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from ollamake.files import sha256
from ollamake.progress import Advance
from ollamake.recorded import md5
from ollamake.verify.part import Algorithm, Expected, Flaw, Part, Result

SHOWN_DIGITS = 12


class Hashes:
    """The hashes of this run: a file that lies here under two names (DVC's hard links) is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, str], str] = {}
        self._lock = Lock()
        self.read_bytes = 0

    def of(self, path: Path, algorithm: Algorithm) -> str:
        """Return the hash of a file or, with md5, of a folder. Raises OSError."""
        status = path.stat()
        key = (status.st_dev, status.st_ino, algorithm)
        if key not in self._known:
            found = sha256(path) if algorithm == "sha256" else md5(path)
            with self._lock:
                self._known[key] = found
                self.read_bytes += size_of(path)
        return self._known[key]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def examine(parts: Iterable[Part], hashes: Hashes, advance: Advance) -> Iterator[Result]:
    """Yield what each part came to, one after the other; `advance` is told of each file."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for part in parts:
            start, before = time.monotonic(), hashes.read_bytes

            def look(file: Expected) -> Flaw | None:
                try:
                    return _flaw(file, hashes)
                finally:
                    advance(1)

            # The large ones first, or the last core would end long after the others.
            files = sorted(part.files, key=lambda file: size_of(file.path) if file.path.exists() else 0, reverse=True)
            found = [flaw for flaw in pool.map(look, files) if flaw]
            seconds = time.monotonic() - start
            yield Result(part, hashes.read_bytes - before, seconds, (*part.flaws, *sorted(found)))


def _flaw(file: Expected, hashes: Hashes) -> Flaw | None:
    try:
        found = hashes.of(file.path, file.algorithm)
    except FileNotFoundError:
        return Flaw(str(file.path), "is not there", file.remedy())
    except OSError as error:
        return Flaw(str(file.path), f"cannot be read ({error.strerror or error})", "look at the disk and the rights")
    if found == file.digest:
        return None
    short = f"{file.algorithm} is {found[:SHOWN_DIGITS]}…, recorded is {file.digest[:SHOWN_DIGITS]}…"
    return Flaw(str(file.path), short, file.remedy())
