"""What DVC knows of the build: whether anything is stale, and the hashes in dvc.lock."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ollamake.release.errors import ReleaseError

LOCK = Path("dvc.lock")
GRAPH = (Path("dvc.yaml"), Path("params.yaml"), Path("pins.yaml"))
DATA = "data/"
ALWAYS = "always changed"
BUILD = "`dvc repro`, commit what it wrote, then create the release again"


def read_lock() -> Mapping[str, Any]:
    """Return the stages of dvc.lock. Raises ReleaseError where nothing was built."""
    try:
        stages: Mapping[str, Any] = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError as error:
        raise ReleaseError("nothing was built here", where=str(LOCK), hint="`make build`") from error
    return stages


def inputs(lock: Mapping[str, Any]) -> set[str]:
    """Return what a commit has to hold for the build to be made again from it: every dependency no stage wrote."""
    written = {out["path"] for stage in lock.values() for out in stage.get("outs", [])}
    read = {dep["path"] for stage in lock.values() for dep in stage.get("deps", [])}
    return {str(path) for path in (LOCK, *GRAPH)} | (read - written) | {"metrics"}


def data_hashes(lock: Mapping[str, Any]) -> dict[str, str]:
    """Return the md5 of every data file that a stage wrote, by path: what the model was trained and tested on."""
    outs = [out for stage in lock.values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith(DATA) and "md5" in out}


def require_current() -> None:
    """Raise ReleaseError unless every stage's outputs are those of its inputs as they are now."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise ReleaseError(
            f"`dvc status` failed: {(ran.stderr or ran.stdout).strip()}", hint="`dvc doctor`; then again"
        )
    # `export` is always looked at again, which is no change.
    stale = [name for name, changes in json.loads(ran.stdout).items() if changes != [ALWAYS]]
    if stale:
        raise ReleaseError(f"the build is stale, `dvc status` lists: {', '.join(stale)}", hint=BUILD)
