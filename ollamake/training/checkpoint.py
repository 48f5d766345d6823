"""Checkpoints on disk: folders `checkpoint-<step>` that are whole when their manifest says so, and gone when done with.

They lie in `$DVC_ROOT/.checkpoints/<fingerprint>`, outside the graph: DVC deletes a stage's outputs before it runs. The
manifest is written last, with the sha256 of every file; what a kill or a failing disk left is told by it.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ollamake.errors import TrainingError
from ollamake.files import read_json, sha256, sync, write_json
from ollamake.training.fingerprint import versions
from ollamake.training.launch import is_main

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
KEPT = 2
# A stage whose `dvc` was killed has half a minute for its last checkpoint.
WAIT_SECONDS = 40.0
OTHERS_DAYS = 14


@contextmanager
def reserved(fingerprint: str) -> Iterator[Path]:
    """Yield the folder for the checkpoints of one training, which is removed when that has come to its end.

    Nobody else trains in this workspace, or with this fingerprint, meanwhile. Raises TrainingError when somebody does.
    Folders of other trainings stay for two weeks: going back to their parameters goes on from where they were.
    """
    here, root = Path(".checkpoints"), Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints"
    folder = root / fingerprint
    if not is_main():  # of several processes; the first one does all this for them
        yield folder
        return
    lock = root / f"{fingerprint}.lock"
    with locked(here / "workspace.lock") as killed, locked(lock):
        if killed:
            print(
                f"process {killed}, which trained here before, was killed: by a person, or by the system because "
                "memory ran out. `python -m ollamake plan` tells what this training needs; a smaller "
                "per_device_batch_size or max_length needs less",
                file=sys.stderr,
            )
        forget_others(root, fingerprint)
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)
        lock.unlink()


@contextmanager
def locked(path: Path) -> Iterator[str]:
    """Hold the lock at `path`, which holds our process number; wait for a trainer that is about to leave.

    Yields the number of the process that had it before and was killed, empty for one that left by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for process {_holder(path)}, which is training here, to end", file=sys.stderr)
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout as error:
            raise TrainingError(
                f"process {_holder(path)} is training here, and still was after {WAIT_SECONDS:.0f} seconds",
                where=str(path),
                hint=f"let it end, or stop it with `kill {_holder(path)}`: it keeps what it has done in a checkpoint",
            ) from error
    try:
        killed = _holder(path)
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield killed
    finally:
        if path.exists():
            path.write_bytes(b"")
        lock.release()


def _holder(path: Path) -> str:
    number = path.read_text(encoding="ascii").strip()
    return number if number.isdigit() else ""  # a loss of power may leave zeros, which tell of no process


def forget_others(root: Path, fingerprint: str) -> None:
    """Remove folders of other trainings that are two weeks old; say what the younger ones hold."""
    held_bytes = 0
    for folder in root.iterdir():
        if not folder.is_dir() or folder.name == fingerprint:
            continue
        if time.time() - folder.stat().st_mtime > OTHERS_DAYS * 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)
        else:
            held_bytes += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if held_bytes:
        print(
            f"checkpoints of trainings with other parameters, data, code or library versions: "
            f"{held_bytes / 1e6:,.0f} MB in {root}, kept for {OTHERS_DAYS} days",
            file=sys.stderr,
        )


def seal(checkpoint: Path) -> None:
    """Force every file of a checkpoint out to the disk and write its manifest last."""
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file())
    for file in files:
        sync(file)
    digests = {str(file.relative_to(checkpoint)): sha256(file) for file in files}
    content = {"fingerprint": checkpoint.parent.name, "versions": versions(), "files": digests}
    write_json(checkpoint / MANIFEST, {**content, "manifest": _digest(content)})
    for folder in {*(file.parent for file in files), checkpoint, checkpoint.parent}:
        sync_folder(folder)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sync_folder(folder: Path) -> None:
    """Force the names of the files in `folder` out to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def damage(checkpoint: Path) -> str:
    """Return what is wrong with a checkpoint, empty for a whole one."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
        if manifest.pop("manifest") != _digest(manifest):
            return f"{MANIFEST} is not as it was written"
        if manifest["fingerprint"] != checkpoint.parent.name:
            return "it belongs to another training"
        for name, digest in manifest["files"].items():
            if sha256(checkpoint / name) != digest:
                return f"{name} is not as it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return ""


def newest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`; damaged ones are told of and removed."""
    for checkpoint in checkpoints(folder):
        if not (problem := damage(checkpoint)):
            return checkpoint
        print(f"{checkpoint.name} is left out: {problem}", file=sys.stderr)
        shutil.rmtree(checkpoint)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, whole or not, newest first."""
    found = {int(path.name.removeprefix(PREFIX)): path for path in folder.glob(f"{PREFIX}*")}
    return [found[step] for step in sorted(found, reverse=True)]


def prune(folder: Path) -> None:
    """Remove all checkpoints but the newest ones: one to go on from, and one in case that is damaged."""
    for checkpoint in checkpoints(folder)[KEPT:]:
        shutil.rmtree(checkpoint)
