"""Whose a sweep's folder is: studies of one name can live in several storages, but only one of them works here."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ollamake.files import read_json, write_json
from ollamake.sweep.errors import SweepError
from ollamake.sweep.slot import KEPT, abandoned, end
from ollamake.sweep.snapshot import Snapshot
from ollamake.sweep.url import describe, shared

if TYPE_CHECKING:
    from optuna import Study

RECORD, JOURNAL = "study.json", "journal.log"
IDENTITY = "id"  # the attribute of a study that tells it from others of its name


def new_identity() -> str:
    """Return what no other study is called."""
    return uuid4().hex


def refuse_foreign(folder: Path, url: str | None, study: "Study | None") -> None:
    """Raise SweepError where the folder is that of another study in another storage; None is a study yet to begin."""
    kept = _kept(folder)
    if kept and kept["storage"] != describe(shared(url)) and not (study and owns(study, folder)):
        raise SweepError(
            f"the folder belongs to another study of that name, in {kept['storage']}",
            where=str(folder),
            hint="another `name:`; or move the folder away when that study is done with",
        )


def take_possession(snapshot: Snapshot, url: str | None, study: "Study") -> None:
    """Make the snapshot's folder the study's, and remove what trials of an earlier study of its name left in it."""
    if not owns(study, snapshot.folder):
        for slot in abandoned(snapshot):
            end(slot.folder)
            slot.clear()
            slot.release()
        shutil.rmtree(snapshot.folder / KEPT, ignore_errors=True)
    record = {IDENTITY: study.user_attrs.get(IDENTITY), "storage": describe(shared(url))}
    write_json(snapshot.folder / RECORD, record)


def owns(study: "Study", folder: Path) -> bool:
    """Tell whether the folder is the study's already: it has worked on this machine."""
    kept = _kept(folder)
    return kept is not None and kept[IDENTITY] == study.user_attrs.get(IDENTITY)


def _kept(folder: Path) -> dict[str, Any] | None:
    if (folder / RECORD).is_file():
        return dict(read_json(folder / RECORD))
    # An earlier version of this program left a journal, and no record.
    return {IDENTITY: None, "storage": describe(None)} if (folder / JOURNAL).is_file() else None
