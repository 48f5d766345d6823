"""What a person calls a state of the project, and its files as git knows them, without checking anything out."""

import difflib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ollamake.errors import OllamakeError
from ollamake.release.repository import git_tag
from ollamake.release.version import is_version

WORKSPACE, REFERENCE = "workspace", "HEAD"
EXPERIMENTS = "refs/exps/"
EXPERIMENT_PARTS = 5  # refs/exps/ab/cdef…/name
FULL_HASH = re.compile("[0-9a-f]{40}")
SHORT = 7


class RevisionError(OllamakeError):
    """There is no such state of the project to compare."""


@dataclass(frozen=True)
class Revision:
    """A commit, or the files as they lie in the workspace, whose `commit` is empty; `date` and `subject` are git's."""

    name: str
    commit: str = ""
    date: str = ""
    subject: str = ""
    is_experiment: bool = False

    @property
    def in_workspace(self) -> bool:
        """Whether these are the files on the disk."""
        return not self.commit

    def read(self, path: str) -> bytes | None:
        """Return the content of a file that git tracks, or that lies in the workspace; None where there is none."""
        if self.in_workspace:
            file = Path(path)
            return file.read_bytes() if file.is_file() else None
        # `./`: the path counts from the folder of the project, which may lie below that of git.
        ran = git("cat-file", "blob", f"{self.commit}:./{path}")
        return ran.stdout if ran.returncode == 0 else None


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git, which may fail. Raises RevisionError when it is not installed."""
    try:
        return subprocess.run(["git", "-c", "core.quotePath=false", *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise RevisionError("git is not installed", hint="revisions are read with git: install it") from error


def lines(*arguments: str) -> list[str]:
    """Return what git prints, a string a line. Raises RevisionError with git's own words."""
    ran = git(*arguments)
    if ran.returncode != 0:
        said = ran.stderr.decode(errors="replace").strip()
        raise RevisionError(f"`git {arguments[0]}` failed: {said}", hint="`git status` tells more")
    return ran.stdout.decode(errors="replace").splitlines()


def resolve(names: Sequence[str]) -> list[Revision]:
    """Return the revisions, the reference first: by default HEAD and the workspace, with one name that and the
    workspace.

    Raises RevisionError for a name that neither git nor DVC knows, and for one thing twice.
    """
    if git("rev-parse", "--verify", "--quiet", "HEAD").returncode != 0:
        raise RevisionError(
            "there is no commit to compare with", hint="`git init && git add --all && git commit -m start`"
        )
    wanted = list(names) if len(names) > 1 else [*(names or [REFERENCE]), WORKSPACE]
    found = [_revision(name) for name in wanted]
    for number, revision in enumerate(found):
        twin = next((other for other in found[:number] if other.commit == revision.commit), None)
        if twin:
            raise RevisionError(
                f"{twin.name} and {revision.name} are the same: there is nothing to compare",
                hint="`python -m ollamake compare REV` sets the workspace against one; `dvc exp show` lists them",
            )
    return found


def _revision(name: str) -> Revision:
    if name == WORKSPACE:
        return Revision(name)
    wanted = git_tag(name) if is_version(name) else name
    if commit := _commit(wanted):
        return _described(name, commit, is_experiment=False)
    found = [ref for ref in _experiments() if ref.name == name]
    # A name may be given to an experiment of every commit; that of the commit at hand counts first.
    here = [ref for ref in found if ref.baseline == _commit(REFERENCE)] or found
    if len(here) == 1:
        return _described(name, here[0].commit, is_experiment=True)
    if here:
        raise RevisionError(
            f"{name} is the name of {len(here)} experiments",
            hint=f"take the hash of one: {', '.join(ref.commit[:SHORT] for ref in here)}",
        )
    raise RevisionError(f"{name} is nothing that git or DVC knows", hint=_nearest(name))


def _nearest(name: str) -> str:
    branches = lines("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
    known = [*branches, *(ref.name for ref in _experiments())]
    near = difflib.get_close_matches(name, known, n=3)
    listed = (
        "`git log --oneline`, `dvc exp list --all-commits` and `python -m ollamake release list` show what there is"
    )
    return f"did you mean {' or '.join(near)}? {listed}" if near else listed


@dataclass(frozen=True)
class _Experiment:
    name: str
    baseline: str
    commit: str


def _experiments() -> Iterator[_Experiment]:
    for line in lines("for-each-ref", "--format=%(objectname) %(refname)", EXPERIMENTS):
        commit, _, ref = line.partition(" ")
        parts = ref.split("/")
        if len(parts) == EXPERIMENT_PARTS and FULL_HASH.fullmatch(baseline := parts[2] + parts[3]):
            yield _Experiment(parts[4], baseline, commit)


def _commit(name: str) -> str:
    # `--end-of-options`: a name that begins with a dash is no option of git.
    ran = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return ran.stdout.decode().strip() if ran.returncode == 0 else ""


def _described(name: str, commit: str, *, is_experiment: bool) -> Revision:
    said = lines("log", "-1", "--format=%cs%n%s", commit)
    date, subject = said[0], said[1] if len(said) > 1 else ""
    shown = commit[:SHORT] if FULL_HASH.fullmatch(name) else name
    return Revision(shown, commit, date, "" if is_experiment else subject, is_experiment)
