"""The code that a sweep runs: the checkout as it stood when the sweep began, uncommitted changes and new files too.

`dvc exp run --temp` stashes and resets the folder that it starts from, for a second in which somebody's edits would be
lost. A `git worktree` would be reset in place of the checkout, but shares its stashes and `refs/exps`. So trials start
from clones of a bare repository that borrows the objects of the checkout. DVC sees HEAD with uncommitted changes there,
as it would in the checkout, and the experiments belong to the commit that is checked out.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from ollamake.files import read_json, write_json
from ollamake.sweep.errors import SweepError

RECORD, CODE = "snapshot.json", "code.git"
# The attribute of a study that names the files that the snapshot left as they are committed.
OWN_FILES = "own_files"
# A new file is copied into git's objects; data of that size is for DVC.
LARGEST_NEW_BYTES = 20_000_000
# Set by git in its hooks: they would point every command of ours at the checkout.
GIT_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


@dataclass(frozen=True)
class Snapshot:
    """The code of a sweep: `folder` is the sweep's, `tree` the git tree that all trials run, `cache` DVC's cache."""

    folder: Path
    base_rev: str
    tree: str
    cache: str

    @property
    def code(self) -> Path:
        """The bare repository that holds the tree."""
        return self.folder / CODE


def take(folder: Path, own_files: Sequence[str]) -> Snapshot:
    """Return a snapshot of the checkout in the current folder, kept in `folder` in place of an older one.

    `own_files` are the sweep's own, which are left as they are committed: another machine, or another day, may have
    other limits in them. Raises SweepError where git or DVC is not set up, or where a new file is too large.
    """
    base_rev = git("rev-parse", "--verify", "HEAD", hint="`git init && git add --all && git commit -m start`").strip()
    _refuse_large_files()
    _refuse_changed_data()
    code = folder / CODE
    shutil.rmtree(code, ignore_errors=True)
    git("clone", "--quiet", "--bare", "--shared", ".", str(code))
    if (excluded := Path(git("rev-parse", "--git-path", "info/exclude").strip())).is_file():
        shutil.copyfile(excluded, code / "info/exclude")
    index = {"GIT_DIR": str(code), "GIT_WORK_TREE": str(Path.cwd()), "GIT_INDEX_FILE": str(code / "snapshot.index")}
    git("read-tree", base_rev, env=index)
    git("add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in own_files), env=index)
    tree = git("write-tree", env=index).strip()
    # Under a ref, git's housekeeping leaves the tree alone.
    git("update-ref", "refs/trees/sweep", tree, env=index)
    taken = Snapshot(folder, base_rev, tree, _cache())
    write_json(folder / RECORD, {name: str(value) for name, value in asdict(taken).items()})
    return taken


def known(folder: Path) -> Snapshot | None:
    """Return the snapshot that `folder` holds, if it holds one."""
    if not (folder / RECORD).is_file():
        return None
    return Snapshot(**{**read_json(folder / RECORD), "folder": folder})


def exclusive(folder: Path, name: str) -> FileLock:
    """Return a lock for a `with`, which one process of this machine holds at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def _refuse_large_files() -> None:
    new = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    large = [name for name in new if name and Path(name).stat().st_size > LARGEST_NEW_BYTES]
    if large:
        raise SweepError(
            f"git does not know {large[0]}, and a trial would not find it",
            where=large[0],
            hint=f"`dvc add {large[0]}` for data, or a line in .gitignore for what no stage reads",
        )


def _refuse_changed_data() -> None:
    """Raise SweepError for data that changed since `dvc add`: a trial has what its .dvc file says."""
    found = json.loads(_dvc("status", "--json"))
    changed = [
        path
        for name, changes in found.items()
        if name.endswith(".dvc")
        for change in changes
        for path, how in change.get("changed outs", {}).items()
        if how == "modified"
    ]
    if changed:
        raise SweepError(
            "changed since `dvc add`, and a trial would have the old content",
            where=changed[0],
            hint=f"`dvc add {' '.join(changed)}`, then run the sweep",
        )


def _cache() -> str:
    return _dvc("cache", "dir").strip()


def _dvc(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip()
        raise SweepError(f"`dvc {' '.join(arguments)}` failed: {said}", hint="`dvc doctor` tells more")
    return ran.stdout


def git(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, hint: str = "") -> str:
    """Run git and return what it prints. Raises SweepError with git's own words."""
    clean = {name: value for name, value in os.environ.items() if name not in GIT_OWN}
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise SweepError("git is not installed", hint="a trial is a commit: install it") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise SweepError(f"`git {arguments[0]}` failed: {said}", hint=hint) from error
    return ran.stdout
