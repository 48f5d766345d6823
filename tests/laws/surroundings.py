"""What may differ around a build, and must not show in what it makes: each difference alone, or several at once.

python -m tests.laws.surroundings      # lists them, and why one cannot be tried on this machine
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.faults import clock
from tests.faults.network import ALONE, ONLINE, WITHOUT_NETWORK, lacking
from tests.pipeline.conftest import Project

DAY = 24 * clock.HOUR
SOMEBODY_ELSE = ("unshare", "--user")


@dataclass(frozen=True)
class Surroundings:
    """Variables to set, a command to run the build under, a name for the folder, and what the machine has to offer."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    under: tuple[str, ...] = ()
    folder: str = "project"
    needs: str = ""  # why it cannot be tried here; empty when it can


def surroundings(empty: Path) -> list[Surroundings]:
    """Return those of row R1.6; `empty` is an empty folder for a user's home."""
    home = {"HOME": str(empty), "XDG_CACHE_HOME": str(empty / "cache"), "XDG_CONFIG_HOME": str(empty / "config")}
    return [
        Surroundings("an empty home", home),
        Surroundings("the time zone of Kathmandu", {"TZ": "Asia/Kathmandu"}),
        Surroundings("no language", {"LANG": "C", "LC_ALL": "C"}),
        Surroundings("Turkish", {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}, needs=_lacks_turkish()),
        Surroundings("files for the owner only", under=("sh", "-c", 'umask 077; exec "$@"', "sh")),
        Surroundings("a folder with spaces and letters of Unicode", folder="ein Ordner, größer als 日本"),
        Surroundings("hashes of text from 0", {"PYTHONHASHSEED": "0"}),
        Surroundings("hashes of text from 1", {"PYTHONHASHSEED": "1"}),
        Surroundings("a short PATH", {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}),
        _clock("ten years later", 3650, empty),
        _clock("ten years earlier", -3650, empty),
        Surroundings("no network", ONLINE, under=WITHOUT_NETWORK, needs=lacking(*ALONE)),
        # To the process and all it asks; its files stay those of the user that runs the tests.
        Surroundings("another user", under=SOMEBODY_ELSE, needs=lacking(*SOMEBODY_ELSE)),
    ]


def together(parts: Iterable[Surroundings]) -> Surroundings:
    """Return all of them at once, but for those that this machine cannot offer."""
    usable = [part for part in parts if not part.needs]
    return Surroundings(
        name=", ".join(part.name for part in usable),
        env={key: value for part in usable for key, value in part.env.items()},
        under=tuple(word for part in usable for word in part.under),
        folder=next((part.folder for part in usable if part.folder != "project"), "project"),
    )


def build_in(
    around: Surroundings, source: Project, parent: Path, change: Callable[[Project], None] = lambda clone: None
) -> Project:
    """Build a clone of the project from its first commit, changed first, with a cache of its own, and return it."""
    clone = Project(parent / around.folder)
    source.run("git", "clone", "--quiet", str(source.folder), str(clone.folder))
    first = source.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    clone.run("git", "checkout", "--quiet", first)
    change(clone)
    clone.run(*around.under, "dvc", "repro", **around.env)
    return clone


def _clock(name: str, days: int, folder: Path) -> Surroundings:
    needs = "" if shutil.which("cc") else "there is no C compiler"
    return Surroundings(name, under=(sys.executable, str(clock.__file__), str(days * DAY), str(folder)), needs=needs)


@cache
def _lacks_turkish() -> str:
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.lower().split()
    return "" if {"tr_tr.utf8", "tr_tr.utf-8"} & set(listed) else "the locale tr_TR.UTF-8 is not installed"


if __name__ == "__main__":
    for part in surroundings(Path(os.devnull)):
        print(f"{part.name}: {part.needs or 'can be tried here'}")
