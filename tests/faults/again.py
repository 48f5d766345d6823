"""A stage of a built project, to run again: what it wrote, and the project as if it had never run."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

from tests.contract.graph import stages
from tests.laws.outputs import UNDECLARED, digest

OBJECTS = Path(".dvc/cache/files/md5")
STORE = Path(".ollamake/base")  # of base models, which outlives the stage that fetches them
CURVES = "plots/train/"  # they grow while training goes on


def written(folder: Path, stage: str) -> list[Path]:
    """Return the files and folders that `stage` writes, whether DVC caches them or not, there or not."""
    return [folder / name for name in sorted(stages()[stage].outs) or [UNDECLARED]]


def remove(folder: Path, stage: str) -> None:
    """Remove what `stage` has written, as DVC does before it runs a stage."""
    for out in written(folder, stage):
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)


def digests(folder: Path, *names: Path | str) -> dict[str, str]:
    """Return the sha256 of every file that lies below these, without what was measured and what is half-written."""
    paths = [path for name in names for path in [folder / name, *(folder / name).rglob("*")]]
    places = sorted({str(path.relative_to(folder)) for path in paths if path.is_file()})
    return {place: digest(folder, place) for place in places if ".partial-" not in place}


def forget(folder: Path, stage: str) -> None:
    """Make it as if `stage` had never run: no outputs, no entry in dvc.lock, no objects of its own in DVC's cache."""
    remove(folder, stage)
    with modify_yaml(str(folder / "dvc.lock")) as lock:
        forgotten = _objects(folder, lock["stages"].pop(stage, {}))
        kept = {file for entry in lock["stages"].values() for file in _objects(folder, entry)}
    for file in forgotten - kept:
        file.unlink(missing_ok=True)
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    if stage == "fetch":
        shutil.rmtree(folder / STORE, ignore_errors=True)


def _objects(folder: Path, entry: Mapping[str, Any]) -> set[Path]:
    """Return the cache's objects of the outputs in an entry of dvc.lock."""
    roots = {_object(folder, out["md5"]) for out in entry.get("outs", [])}
    listed = [json.loads(file.read_text()) for file in roots if file.suffix == ".dir" and file.is_file()]
    return roots | {_object(folder, one["md5"]) for files in listed for one in files}


def _object(folder: Path, md5: str) -> Path:
    return folder / OBJECTS / md5[:2] / md5[2:]
