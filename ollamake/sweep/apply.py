"""The best trial, put into the workspace."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ollamake.files import atomic_write
from ollamake.sweep.errors import SweepError
from ollamake.sweep.report_data import Results
from ollamake.sweep.show import run_line
from ollamake.sweep.snapshot import OWN_FILES, git
from ollamake.sweep.spec import FILE

EXEC_APPLY = "refs/exps/exec/EXEC_APPLY"  # DVC's, of the experiment that it applied last


def apply_trial(results: Results, number: int | None) -> str:
    """Let DVC put a trial's parameters, results and code into the workspace; return what comes next.

    Without a number it is the best one. Raises SweepError when there is none, there are several, edits of a person
    would be lost, or DVC refuses. The files that describe sweeps stay as they are: no trial depends on them.
    """
    experiment, rev = _experiment(results, number)
    if not _is_here(rev):
        raise SweepError(
            f"{experiment} is not in this repository",
            where=results.study.study_name,
            hint="`dvc exp pull REMOTE` brings it from the machine that ran it, after `dvc exp push REMOTE` there",
        )
    own = results.study.user_attrs.get(OWN_FILES, [str(FILE)])
    _refuse_edits(rev, own)
    # By its commit: a branch or tag of the experiment's name would win.
    command = [sys.executable, "-m", "dvc", "exp", "apply", rev]
    with _keeping([Path(name) for name in own]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().removeprefix("ERROR: ")
        raise SweepError(
            f"`dvc exp apply` of {experiment} failed: {said}", hint="`git status` shows what is in its way"
        )
    if fixed := results.study.user_attrs["default"].get("fixed"):
        full = run_line(fixed)
        return f"{experiment} is in the workspace, with what the sweep fixed; in full, with your own values: {full}"
    return f"{experiment} is in the workspace: look at `git diff`, then `dvc repro` builds and serves it"


def _experiment(results: Results, number: int | None) -> tuple[str, str]:
    name, finished = results.study.study_name, {trial.number: trial for trial in results.complete}
    if number is None:
        if len(results.best) != 1:
            numbers = ", ".join(str(trial.number) for trial in results.best)
            problem = f"several trials are best, each in another way: {numbers}" if numbers else "no trial has finished"
            raise SweepError(
                problem, where=name, hint=f"`python -m ollamake sweep best {name}`, then `apply {name} --trial NUMBER`"
            )
        number = results.best[0].number
    if number not in finished:
        raise SweepError(
            f"trial {number} has no result",
            where=name,
            hint=f"`python -m ollamake sweep status {name}` lists those that have",
        )
    attributes = finished[number].user_attrs
    return attributes["experiment"], attributes["rev"]


def _is_here(rev: str) -> bool:
    return subprocess.run(["git", "cat-file", "-e", rev], capture_output=True, check=False).returncode == 0


def _refuse_edits(rev: str, own: list[str]) -> None:
    """Raise SweepError for edits that only this checkout has: `dvc exp apply` would put them aside without a word."""
    if edited := [name for name in _edited(rev) if name not in own]:
        more = f" and {len(edited) - 1} more" if len(edited) > 1 else ""
        raise SweepError(
            f"has edits that are not committed{more}, and the experiment would replace them",
            where=edited[0],
            hint="`git commit --all`, or `git stash -u`, first",
        )


def _edited(rev: str) -> list[str]:
    """Return the files that would be replaced, and whose content neither HEAD nor an experiment has.

    Experiments are the one to apply, and the one applied last: one may look at several in turn.
    """
    there, last = _files(rev), _files(EXEC_APPLY) if _is_here(EXEC_APPLY) else {}
    changed = git("diff", "--name-only", "--no-renames", "--diff-filter=d", "-z", "HEAD").split("\0")
    new = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    names = [name for name in [*changed, *(name for name in new if name in there)] if name]
    blobs = git("hash-object", "--", *names).split() if names else []
    return [name for name, blob in zip(names, blobs, strict=True) if blob not in (there.get(name), last.get(name))]


def _files(rev: str) -> dict[str, str]:
    """Return the id of each file's content in a commit."""
    entries = (entry.split("\t") for entry in git("ls-tree", "-r", "-z", rev).split("\0") if entry)
    return {name: head.split()[2] for head, name in entries}


@contextmanager
def _keeping(paths: list[Path]) -> Iterator[None]:
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    try:
        yield
    finally:
        for path, content in before.items():
            if not path.is_file() or path.read_bytes() != content:
                with atomic_write(path) as partial:
                    partial.write_bytes(content)
