"""Who else is at work in this repository, and what runs that were killed have left behind."""

import fcntl
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ollamake.doctor.finding import Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject

TEMPORARY = Path(".dvc/tmp")
REPOSITORY_LOCK = TEMPORARY / "lock"
PATH_LOCKS = (TEMPORARY / "rwlock", TEMPORARY / "exps" / "rwlock")
COPIES = (TEMPORARY / "exps", TEMPORARY / "exps" / "standalone")
PARTIAL = re.compile(r"\..+\.partial-(\d+)(-old)?")
WRITTEN = ("data", "models", "metrics", "plots", ".ollamake/base", ".checkpoints", "releases")
# Of the processes that run in the repository, those that write in it.
DVC = re.compile(r"(^|[\s/])dvc(/__main__\.py)?(\s|$)")
STAGE = re.compile(r"\bstages\.\w+")


@dataclass(frozen=True)
class Process:
    """A process of this machine: its number, command line and folder."""

    number: int
    command: str
    folder: Path

    def __str__(self) -> str:
        words = [Path(word).name if "/" in word else word for word in self.command.split()]
        return f"`{' '.join(words)[:60].strip()}` (process {self.number})"


def locks(subject: Subject) -> Verdict:
    """Look for locks that nobody will let go of, and for whoever holds the others."""
    claims: dict[int, tuple[str, Path]] = {}
    for path in PATH_LOCKS:
        try:
            claims |= {number: (command, path) for number, command in claimed(path).items()}
        except ValueError:
            return failure(f"{path} is damaged, and every DVC command fails on it", f"`rm {path}`")
    running = {process.number: process for process in processes(subject.root)}
    for number, (command, path) in claims.items():
        if reused(number, command):
            return failure(
                f"{path} is held in the name of process {number}, which is another program by now",
                "`python -m ollamake check` lets go of it",
            )
    if running:
        one = next(iter(running.values()))
        others = f" and {len(running) - 1} more" if len(running) > 1 else ""
        return warning(
            f"{one} is at work here{others}; commands that need the same files wait or fail",
            f"let it end, or `kill {one.number}`: a training keeps what it has done",
        )
    if locked(REPOSITORY_LOCK):
        return warning(f"another process holds {REPOSITORY_LOCK}", "let it end; `fuser -v .dvc/tmp/lock` names it")
    if claims:
        return fine(f"{len(claims)} left by killed runs, which DVC removes by itself")
    return fine("nobody else is at work here")


def leftovers(subject: Subject) -> Verdict:
    """Look for folders of killed experiments, and half-written files of processes that are gone."""
    halves = [path for path in partials() if not alive(int(PARTIAL.fullmatch(path.name)[1]))]  # type: ignore[index]
    copies = [folder for parent in COPIES for folder in sorted(parent.glob("tmp*")) if folder.is_dir()]
    if any(DVC.search(process.command) for process in processes(subject.root)):
        copies = []  # between two stages nobody stands in the copy of an experiment, so any of them may be in use
    found = [str(path) for path in halves + copies]
    if not found:
        return fine("none")
    size = sum(size_bytes(Path(path)) for path in found)
    listed = "; `dvc exp show` lists killed experiments as running" if copies else ""
    return warning(
        f"{named(found, 2)} of killed runs, {size / 1e6:,.0f} MB{listed}",
        f"`rm -r {shlex.join(found)}`, if no other machine or container works here",
    )


def claimed(path: Path) -> dict[int, str]:
    """Return the processes that hold paths in a lock file of DVC's: number and command. Raises ValueError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        readers = [holder for holders in content.get("read", {}).values() for holder in holders]
        return {int(holder["pid"]): str(holder["cmd"]) for holder in [*content.get("write", {}).values(), *readers]}
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def locked(path: Path) -> bool:
    """Tell whether a process holds the lock file that DVC takes for the length of a command."""
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)  # lets go of it, too
    return False


def processes(root: Path) -> list[Process]:
    """Return the processes that work in the repository or in a copy below it; not this one, nor what started it."""
    import psutil

    own = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command, folder = " ".join(process.info["cmdline"] or ()), process.info["cwd"]
        if process.pid in own or not folder or not Path(folder).is_relative_to(root):
            continue
        if "python" in command and (DVC.search(command) or STAGE.search(command)):
            found.append(Process(process.pid, command, Path(folder)))
    return sorted(found, key=lambda process: process.number)


def alive(number: int) -> bool:
    """Tell whether there is a process of this number."""
    import psutil

    return bool(psutil.pid_exists(number))


def reused(number: int, command: str) -> bool:
    """Tell whether the process of a claim has gone and another program has its number; DVC looks at the number only."""
    import psutil

    try:
        words = psutil.Process(number).cmdline()
    except psutil.Error:
        return False  # gone, and then DVC drops the claim by itself; or another user's, which may be anything
    # What DVC notes begins with the path of its script, which `python -m dvc` and a link do not have in their own.
    return not " ".join(words).endswith(command.partition(" ")[2])


def partials() -> Iterator[Path]:
    """Yield the partial files and folders that `ollamake.files` would have renamed or removed in the end."""
    for name in WRITTEN:
        for path in Path(name).rglob(".*.partial-*"):
            if PARTIAL.fullmatch(path.name):
                yield path


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(file.stat().st_size for file in files)
