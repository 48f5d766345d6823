"""A place for one trial at a time: a folder with a fresh clone of the sweep's code, gone when the trial is.

Each trial has a clone of its own, so that trials that run at once share no lock of DVC. A lock tells which slots are
in use; a slot whose folder is there while nobody holds its lock was left by a driver that died.
"""

import shutil
import signal
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ollamake.sweep.snapshot import Snapshot, git

# What a trainer gets to leave in, before it is killed.
PATIENCE_SECONDS = 20.0
# Where a trainer leaves them, and where those of trials that were broken off wait for the next attempt.
CHECKPOINTS, KEPT = ".checkpoints", "checkpoints"
MARK = "OLLAMAKE_TRIAL"


class Slot:
    """Slot number `index` of the sweep on this machine, held until `release`."""

    def __init__(self, snapshot: Snapshot, index: int, lock: FileLock) -> None:
        self.index, self._snapshot, self._lock = index, snapshot, lock
        self.folder = snapshot.folder / "slots" / str(index)

    @property
    def code(self) -> Path:
        """The clone, from which `dvc exp run --temp` starts."""
        return self.folder / "code"

    @property
    def left(self) -> int | None:
        """The number of the trial that a driver left here when it died."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / "trial").read_text(encoding="ascii"))
        return None

    def reserve(self, number: int) -> None:
        """Write down that the trial runs here, before anything of it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "trial").write_text(str(number), encoding="ascii")

    def fill(self, checkpoints: int | None) -> None:
        """Put the sweep's code here, with the checkpoints that an earlier attempt (a trial's number) left."""
        snapshot, main = self._snapshot, Path.cwd()
        git("clone", "--quiet", "--shared", "--no-checkout", str(snapshot.code), str(self.code))
        git("checkout", "--quiet", "--detach", snapshot.base_rev, cwd=self.code)
        git("read-tree", "--reset", "-u", snapshot.tree, cwd=self.code)
        # DVC stashes the changes, for which git wants a name: the checkout's, which may stand in its own config only.
        for key, default in (("user.name", "ollamake"), ("user.email", "ollamake@localhost")):
            git("config", key, git("config", "--default", default, "--get", key).strip(), cwd=self.code)
        self._point_to_cache(main)
        # The base models: DVC_ROOT is the clone, and the stages look for their store there.
        (self.code / ".ollamake").symlink_to(main / ".ollamake", target_is_directory=True)
        with (self.code / ".git/info/exclude").open("a", encoding="utf-8") as stream:
            stream.write("/.ollamake\n")
        if checkpoints is not None and (kept := self._kept(checkpoints)).is_dir():
            kept.rename(self.code / CHECKPOINTS)

    def _point_to_cache(self, main: Path) -> None:
        config = ConfigParser(interpolation=None)
        config.read(main / ".dvc/config.local", encoding="utf-8")
        config.read_dict({"cache": {"dir": self._snapshot.cache}})
        with (self.code / ".dvc/config.local").open("w", encoding="utf-8") as stream:
            config.write(stream)

    def _kept(self, number: int) -> Path:
        return self._snapshot.folder / KEPT / str(number)

    def copies(self) -> list[Path]:
        """Return the temporary copies that DVC made here: one while the trial runs."""
        return list((self.code / ".dvc/tmp/exps/standalone").glob("tmp*/"))

    def experiment(self, name: str) -> str:
        """Return the ref of the experiment, empty where the trial left none."""
        refs = git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=self.code).split()
        return next((ref for ref in refs if ref.endswith(f"/{name}")), "")

    def publish(self, ref: str) -> str:
        """Bring the finished experiment into the checkout, and return its commit. Raises SweepError if one is there."""
        git("push", "--quiet", str(Path.cwd()), f"{ref}:{ref}", cwd=self.code)
        return git("rev-parse", ref, cwd=self.code).strip()

    def keep_checkpoints(self, number: int) -> None:
        """Set aside how far the training came, for the next attempt at this trial."""
        if (here := self.code / CHECKPOINTS).is_dir():
            self._kept(number).parent.mkdir(exist_ok=True)
            here.rename(self._kept(number))

    def clear(self) -> None:
        """Remove all that a trial left: clone, temporary copy, locks, refs, checkpoints."""
        kill(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let others have the slot."""
        self._lock.release()


def claim(snapshot: Snapshot) -> Slot:
    """Return the first slot that nobody holds."""
    return next(slot for slot in _slots(snapshot) if slot)


def abandoned(snapshot: Snapshot) -> Iterator[Slot]:
    """Yield every slot that a dead driver left, held by us now; to be cleared and released."""
    for folder in sorted((snapshot.folder / "slots").glob("*/")):
        if slot := _acquire(snapshot, int(folder.name)):
            if slot.folder.exists():
                yield slot
            else:
                slot.release()


def _slots(snapshot: Snapshot) -> Iterator[Slot | None]:
    index = 0
    while True:
        yield _acquire(snapshot, index)
        index += 1


def _acquire(snapshot: Snapshot, index: int) -> Slot | None:
    path = snapshot.folder / "slots" / f"{index}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return Slot(snapshot, index, lock)


def inside(folder: Path) -> list[Any]:
    """Return the processes of the trial in the folder: DVC, its stages, and whatever these started in their turn.

    Their environment tells them, not their group: launchers such as torchrun begin sessions of their own.
    """
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark(folder):
                found.append(process)
    return found


def mark(folder: Path) -> str:
    """Return what the environment of a trial's processes says under `MARK`."""
    return str(folder.absolute())


def interrupt(folder: Path) -> None:
    """Ask every process of the trial in the folder to end, as Ctrl-C would."""
    _signal(folder, signal.SIGINT)


def kill(folder: Path) -> None:
    """End every process of the trial in the folder for good."""
    while found := inside(folder):
        _signal(folder, signal.SIGKILL)
        import psutil

        psutil.wait_procs(found, timeout=1)


def end(folder: Path) -> None:
    """Ask every process of the trial in the folder to end, wait a while, and end the rest for good."""
    import psutil

    found = inside(folder)
    interrupt(folder)
    psutil.wait_procs(found, timeout=PATIENCE_SECONDS)
    kill(folder)


def _signal(folder: Path, number: signal.Signals) -> None:
    import psutil

    for process in inside(folder):
        with suppress(psutil.Error):
            process.send_signal(number)
