"""Where a study lives: a journal file in this checkout, or a storage that several machines share.

Optuna's storages do the work. Here a URL becomes one of them, before any trial starts, in bounded time, and with an
error that a person can act on. A URL may hold a password: no message or file of ours repeats it. What a person gives as
`--storage` stands in the list of processes, though; in the environment it does not.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ollamake.base import store
from ollamake.sweep.errors import SweepError
from ollamake.sweep.journal import open_journal, shared_journal
from ollamake.sweep.servers import open_postgresql, open_proxy
from ollamake.sweep.url import HINT, describe, shared

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def open_storage(url: str | None, study: str) -> "BaseStorage":
    """Return the storage at `url`, else at $OLLAMAKE_SWEEP_STORAGE, else the journal file of `study` in this checkout.

    Raises SweepError when the URL is none of ours, or nothing answers there in time.
    """
    url = shared(url)
    if not url:
        return open_journal(_own_journal(study))
    scheme = url.partition(":")[0]
    if scheme == "journal":
        return open_journal(shared_journal(url))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return open_postgresql(url)
    if scheme == "grpc":
        return open_proxy(url)
    raise SweepError("the storage is of a kind that a sweep does not know", where=describe(url), hint=HINT)


def own_folder(study: str) -> Path:
    """Return the folder of the study in the main checkout. Raises SweepError for a name that is no folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", study):
        raise SweepError(
            f"{study!r} cannot be the name of a study",
            where="name of the study",
            hint="letters, digits, dots, dashes and underscores, a letter or digit first: `lora-rank-2`",
        )
    return store() / "sweeps" / study


def own_studies() -> list[str]:
    """Return the names of the studies with a journal in this checkout, the one that was written last first."""
    journals = sorted((store() / "sweeps").glob("*/journal.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [journal.parent.name for journal in journals]


def _own_journal(study: str) -> Path:
    folder = own_folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "journal.log"
