"""DVC's own records that a kill can leave empty or cut, and their repair.

DVC writes dvc.lock and its lists of claimed paths in place: for a moment an empty file stands there, and when that
stays every DVC command fails on it. None of them holds anything that cannot be had again.
"""

import re
from io import StringIO
from pathlib import Path

from ollamake.doctor.repository import git
from ollamake.doctor.runs import PATH_LOCKS, claimed, processes
from ollamake.errors import OllamakeError
from ollamake.files import atomic_write

LOCK = Path("dvc.lock")
CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)


def repair() -> list[str]:
    """Put right what a killed DVC has left of its records; return a sentence for each.

    Does nothing while a DVC or a stage is at work here. Raises OllamakeError for a dvc.lock in which git has left a
    conflict: which side holds is not ours to say.
    """
    problem, claims = damage(read(LOCK)), [path for path in PATH_LOCKS if _is_cut(path)]
    if not (problem or claims) or processes(Path.cwd().resolve()):
        return []
    said = [_restore(problem)] if problem else []
    for path in claims:
        path.unlink(missing_ok=True)
        said.append(f"{path} cannot be read, as after a kill; it is removed, and DVC begins another")
    return said


def read(path: Path) -> str | None:
    """Return the text of `path`, None where there is no such file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def damage(text: str | None) -> str:
    """Return what is wrong with the text of a dvc.lock, empty for a whole one and for none.

    One that was cut between two stages may pass: DVC takes it, and finds the rest in its run cache.
    """
    if text is None:
        return ""
    if not text.strip("\0\n "):
        return "is empty"
    if CONFLICT.search(text):
        return "holds a conflict of git's"
    if not text.endswith("\n"):
        return "was cut"
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # half a second
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(StringIO(text)))
    except (YAMLError, Invalid, ValueError) as error:
        return f"cannot be read ({str(error).splitlines()[0]})"
    return ""


def _is_cut(path: Path) -> bool:
    try:
        claimed(path)
    except ValueError:
        return True
    return False


def _restore(problem: str) -> str:
    """Bring back the dvc.lock of the last commit, or remove it where that has none; return what was done.

    The commit has what only it knows, such as stages that ran on another machine. What ran here since, or was never
    committed, is in DVC's run cache, from which the next `dvc repro` takes it.
    """
    if "conflict" in problem:
        hint = "`git checkout --ours dvc.lock` or `--theirs`, then `dvc repro`: either side will do"
        raise OllamakeError(problem, where=str(LOCK), hint=hint)
    committed = git("show", f"HEAD:./{LOCK}")
    if committed is None or damage(committed):
        LOCK.unlink()
        return f"{LOCK} {problem}, as after a kill; it is removed, and `dvc repro` writes it anew from DVC's cache"
    with atomic_write(LOCK) as partial:
        partial.write_text(committed, encoding="utf-8", newline="\n")
    return f"{LOCK} {problem}, as after a kill; that of the last commit is back, what came after is in DVC's cache"
