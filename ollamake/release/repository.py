"""git, as far as a release needs it: is everything committed, and a commit of the records with a tag on it."""

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from ollamake.release.errors import ReleaseError
from ollamake.release.record import RELEASES

# The artifact in dvc.yaml whose versions these are; `model@v1.2.0` is the tag that `dvc artifacts get` looks for.
ARTIFACT = "model"
SHOWN = 5
COMMIT_ALL = "`git add --all && git commit -m 'what changed'`, then create the release again"


def git_tag(version: str) -> str:
    """Return the git tag of a release, which DVC reads as a version of the artifact."""
    return f"{ARTIFACT}@v{version}"


def git(*arguments: str, hint: str = "") -> str:
    """Run git and return what it prints. Raises ReleaseError with git's own words."""
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise ReleaseError("git is not installed", hint="releases are recorded in git: install it") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise ReleaseError(f"`git {arguments[0]}` failed: {said}", hint=hint) from error
    return ran.stdout


def head() -> str:
    """Return the commit that is checked out. Raises ReleaseError where there is none."""
    hint = "`git init && git add --all && git commit -m start`, then `dvc repro`"
    return git("rev-parse", "--verify", "HEAD", hint=hint).strip()


def require_committed(inputs: Collection[str]) -> None:
    """Raise ReleaseError unless HEAD holds every tracked file as it is, and `inputs` (files, folders) whole."""
    lines = git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames").split("\0")
    changed = [line[3:] for line in lines if line and not line.startswith("??")]
    if changed:
        raise ReleaseError(f"uncommitted changes: {_named(changed)}", hint=COMMIT_ALL)
    unknown = [line[3:] for line in lines if line.startswith("??") and _within(line[3:], inputs)]
    if unknown:
        raise ReleaseError(f"the build reads files that git does not track: {_named(unknown)}", hint=COMMIT_ALL)


def require_tag_is_free(tag: str) -> None:
    """Raise ReleaseError if git has the tag already."""
    if git("tag", "--list", tag).strip():
        raise ReleaseError(
            f"git has the tag {tag}, but there is no such release here",
            hint=f"`git pull` if another machine made it, or take another version; `git show {tag}` tells what it is",
        )


def require_identity() -> None:
    """Raise ReleaseError unless git knows who commits, before anything is changed."""
    git(
        "var",
        "GIT_COMMITTER_IDENT",
        hint="`git config user.name 'Your Name' && git config user.email you@example.org`, or --no-commit",
    )


def commit_records(message: str, tag: str = "", tag_message: str = "") -> None:
    """Commit the folder of releases and nothing else, and tag the commit. Does nothing where nothing changed.

    Raises ReleaseError that names the commands to finish by hand: the release itself is done by then.
    """
    hint = f"everything else is done; to finish: {commands(message, tag)}"
    folder = str(RELEASES)
    git("add", "--", folder, hint=hint)
    if git("status", "--porcelain", "--", folder).strip():
        git("commit", "--quiet", "--only", "-m", message, "--", folder, hint=hint)
    if tag:
        git("tag", "--annotate", "--cleanup=whitespace", "-m", tag_message, tag, hint=hint)


def commands(message: str, tag: str = "") -> str:
    """Return the commands that do what `commit_records` does, for a person to copy."""
    parts = [f"git add {RELEASES}", f'git commit -m "{message}" -- {RELEASES}']
    if tag:
        parts.append(f'git tag -a -m "{message}" {tag}')
    return " && ".join(parts)


def _within(file: str, inputs: Collection[str]) -> bool:
    return any(file == known or file.startswith(f"{known.rstrip('/')}/") for known in inputs)


def _named(files: Sequence[str]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(str(Path(file)) for file in files[:SHOWN]) + more
