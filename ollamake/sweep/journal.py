"""A study in a file: Optuna's journal, which any number of processes and machines may write."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ollamake.sweep.errors import SweepError

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

LINE = b'{"op_code":'  # how each line begins


def open_journal(path: Path) -> "JournalStorage":
    """Return the storage in the file, made if it is not there. Raises SweepError for a file that cannot be one."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # A file made with O_EXCL locks on NFS 3 and later too, where fcntl does not; one left by a dead process is
    # broken after 30 s (optuna.storages.journal.JournalFileOpenLock).
    lock = JournalFileOpenLock(str(path))
    try:
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        try:
            _drop_torn_line(path)
        finally:
            lock.release()
        return JournalStorage(backend)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"the journal cannot be used: {error}",
            where=str(path),
            hint="it needs a disk that can be written, and nothing but Optuna may write it; "
            "if it is damaged, move it away and start the sweep anew",
        ) from error


def shared_journal(url: str) -> Path:
    """Return the file that the URL names. Raises SweepError when its folder is not there."""
    path = Path(url.removeprefix("journal:").removeprefix("//")).expanduser()
    if not path.parent.is_dir():
        # Making the folder would start a study of its own on a machine where the disk is not mounted.
        raise SweepError(
            "the folder of the shared journal is not there",
            where=str(path.parent),
            hint="mount the shared disk, or make the folder once: `mkdir -p` (docs/sweeps.md)",
        )
    if path.is_dir():
        raise SweepError(
            "the shared journal is a folder", where=str(path), hint=f"name a file: journal:{path}/sweeps.log"
        )
    return path


def _drop_torn_line(path: Path) -> None:
    """Cut off the half line that a machine without power left, since the next one would go on in it.

    Raises ValueError for a file that is no journal: Optuna would add to it, and only then find that it cannot read it.
    """
    with path.open("r+b") as stream:
        *lines, torn = stream.read().split(b"\n")
        if torn and not (torn.startswith(LINE) or LINE.startswith(torn)):
            raise ValueError("it holds something else")
        if lines:
            json.loads(lines[-1])["op_code"]
        stream.truncate(stream.tell() - len(torn))
