"""A folder for what a stage needs only while it runs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

IN_USE = ".in-use"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, removed at the end; those that killed runs left behind are removed first.

    Every folder holds a lock of its owner, which the system lets go of when the owner is killed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent.with_suffix(".lock")):
        for left in parent.iterdir():
            _remove_unowned(left)
        folder = Path(tempfile.mkdtemp(dir=parent))
        owned = FileLock(folder / IN_USE)
        owned.acquire()
    try:
        yield folder
    finally:
        owned.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unowned(folder: Path) -> None:
    try:
        with FileLock(folder / IN_USE, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        return
