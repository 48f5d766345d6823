"""A loss of power, as the failpoint hook (failpoints.py) plays it: what was not flushed to the disk is gone.

Of a file that was written and not flushed since, the content is lost: all of it, the second half, or it is zeros, as a
file system leaves it that had the size on the disk before the bytes. Of the names in folders (made, moved, removed), a
file system with a journal keeps the order: some of the last ones are lost, back to the last flush of their folder.
"""
# ruff: noqa: PTH112, PTH113, PTH116, PTH120, PTH123

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

UNSEEN = (".git", ".dvc", ".venv", "__pycache__")
REMOVED = ("unlink", "remove", "rmdir")
MOVED = ("rename", "replace")
State = tuple[int, int]


@dataclass
class Change:
    """A change of a name that is not on the disk yet; `kept` holds what was at `path` before, if a file was."""

    call: str
    path: str
    source: str = ""
    kept: Path | None = None

    def undo(self) -> None:
        """Make it not have happened."""
        if self.call in MOVED:
            Path(self.path).rename(self.source)
        elif self.call == "rmdir":
            Path(self.path).mkdir()
        elif self.call == "mkdir":
            shutil.rmtree(self.path)
        elif self.call == "open":
            Path(self.path).unlink(missing_ok=True)
        if self.kept is not None:
            self.kept.rename(self.path)


@dataclass
class Journal:
    """What the process has changed below `folder` since it began, and what of it is on the disk."""

    folder: Path
    side: Path
    seed: int
    flushed: dict[int, State] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.flushed = {number: state for _, number, state in self.files()}

    def files(self) -> Iterator[tuple[str, int, State]]:
        """Yield the path, the inode and the state of each file below the folder."""
        for parent, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name not in UNSEEN]
            for name in names:
                state = os.lstat(path := f"{parent}/{name}")
                yield path, state.st_ino, (state.st_mtime_ns, state.st_size)

    @contextmanager
    def noting(self, call: str, path: str, target: str = "") -> Iterator[None]:
        """Note a call that succeeds: what it flushed, or which names it changed."""
        taken = target if call in MOVED else path
        kept = self._keep(taken) if call in (*MOVED, *REMOVED) else None
        yield
        if call == "fsync":
            self._flush(path)
        elif path.startswith(f"{self.folder}/"):
            source = path if call in MOVED else ""
            self.changes.append(Change(call, taken, source, kept))

    def created(self, path: str) -> None:
        """Note a file that is about to be opened for writing: a new one has a name that is not on the disk."""
        if path.startswith(f"{self.folder}/") and not os.path.lexists(path):
            self.changes.append(Change("open", path))

    def lose(self) -> None:
        """Take away what was not on the disk."""
        dice = random.Random(self.seed)  # noqa: S311 - it is no secret
        for path, number, state in list(self.files()):
            if self.flushed.get(number) != state:
                _spoil(path, state[1], dice)
        for _ in range(dice.choice([0, dice.randint(0, len(self.changes))])):
            self.changes.pop().undo()

    def _keep(self, path: str) -> Path | None:
        if not os.path.isfile(path) or not path.startswith(f"{self.folder}/"):
            return None
        kept = self.side / f"kept-{next(self.numbers)}"
        os.link(path, kept)
        return kept

    def _flush(self, path: str) -> None:
        if os.path.isdir(path):
            self.changes = [change for change in self.changes if os.path.dirname(change.path) != path]
        else:
            state = os.stat(path)
            self.flushed[state.st_ino] = (state.st_mtime_ns, state.st_size)


def _spoil(path: str, size: int, dice: random.Random) -> None:
    """Lose the content of a file, in one of the ways in which it gets lost."""
    kept, length = dice.choice([(0, 0), (size // 2, size // 2), (size // 2, size), (0, size)])
    with open(path, "r+b") as stream:
        stream.truncate(kept)
        stream.truncate(length)
