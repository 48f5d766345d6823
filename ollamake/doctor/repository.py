"""git: the repository, what queued experiments would miss, and data that git took for its own."""

import subprocess
from collections.abc import Collection
from pathlib import Path

from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject

START = "`git init && git add --all && git commit -m start`"
UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
}
SHOWN = 3
MODULES = ("stages", "ollamake", "metrics_own")


def git(*arguments: str) -> str | None:
    """Return what git prints, None where it fails."""
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return ran.stdout if ran.returncode == 0 else None


def state(_: Subject) -> Verdict:
    """Look for a repository with a commit, in which nothing is half done."""
    folder = git("rev-parse", "--git-dir")
    if folder is None:
        return _without()
    head = git("rev-parse", "--verify", "--short", "HEAD")
    if head is None:
        return failure(
            "there is no commit yet; experiments and releases need one", "`git add --all && git commit -m start`"
        )
    if not Path("dvc.yaml").is_file():
        return failure("there is no dvc.yaml in this folder", "`cd` to the root of the ollamake workspace")
    inside = Path(folder.strip())
    if (inside / "index.lock").exists():
        return warning(
            "git's index is locked, by a git at work or one that was killed",
            f"if no git runs: `rm {inside}/index.lock`",
        )
    if begun := [name for mark, name in UNFINISHED.items() if (inside / mark).exists()]:
        return warning(
            f"a {begun[0]} is not finished, and experiments cannot begin in it",
            f"`git {begun[0]} --continue`, or `git {begun[0]} --abort`",
        )
    changed = len((git("status", "--porcelain", "--untracked-files=no") or "").splitlines())
    branch = (git("branch", "--show-current") or "").strip() or "no branch"
    return fine(f"{branch} at {head.strip()}, {changed or 'no'} changed file{'' if changed == 1 else 's'}")


def _without() -> Verdict:
    """Return why git knows no repository here."""
    if git("--version") is None:
        return failure("git is not installed", "install it: DVC's experiments and releases are git commits")
    if Path(".git").exists():  # of another user, or damaged
        said = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True, check=False).stderr
        hint = '`git config --global --add safe.directory "$PWD"`' if "dubious" in said else "`git fsck`"
        return failure(f"git does not take this repository: {said.strip().splitlines()[0]}", hint)
    return failure("this is no git repository; experiments and releases need one", START)


def queued(subject: Subject) -> Verdict:
    """Look for modules and data that queued experiments would miss: their copies hold what git or DVC knows."""
    _require_git()
    listed = git("ls-files", "--others", "--exclude-standard", "--directory", "-z") or ""  # whole folders by their name
    wanted = [*subject.dependencies, *MODULES]
    untracked = {name.rstrip("/") for name in listed.split("\0") if _within(name.rstrip("/"), wanted)}
    hidden = {name for name in subject.dependencies if _unknown(name)}
    if missing := sorted(untracked | hidden):
        few = len(missing) <= SHOWN
        add = f"`git add {' '.join(missing)}`" if few else "`git status` lists them: `git add` what the stages need"
        return warning(
            f"neither git nor DVC knows {named(missing)}; queued experiments would run without",
            f"{add} (large data: `dvc add`)",
        )
    return fine("the copies of queued experiments hold everything that the stages read")


def outputs(subject: Subject) -> Verdict:
    """Look for outputs that git tracks: DVC refuses to write them."""
    _require_git()
    tracked = (git("ls-files", "-z", "--", *subject.outputs) or "").split("\0")
    if taken := [name for name in tracked if name]:
        roots = sorted({next(out for out in subject.outputs if _within(name, [out])) for name in taken})
        return failure(
            f"git tracks what the stages write ({named(taken)}), and DVC refuses such an output",
            f"`git rm -r --cached --quiet {' '.join(roots)} && git commit -m 'leave outputs to DVC'`",
        )
    return fine(f"{len(subject.outputs)} outputs, none of them in git")


def _require_git() -> None:
    if git("rev-parse", "--git-dir") is None:
        raise SkippedError("there is no git repository")


def _unknown(name: str) -> bool:
    """Tell whether a relative dependency is there, and neither git nor DVC has it."""
    path = Path(name)
    if path.is_absolute() or not path.exists() or Path(f"{name}.dvc").exists():
        return False
    return not (git("ls-files", "--", name) or "").strip()


def _within(name: str, wanted: Collection[str]) -> bool:
    return any(name == known or name.startswith(f"{known.rstrip('/')}/") for known in wanted)
