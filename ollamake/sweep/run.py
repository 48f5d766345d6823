"""One `dvc exp run --temp` in a slot: started, watched while it works, ended early, and what came of it."""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ollamake.overrides import words
from ollamake.sweep.check import METRICS, flatten
from ollamake.sweep.errors import SILENT, SweepError
from ollamake.sweep.graph import TARGET, TRAIN
from ollamake.sweep.slot import MARK, PATIENCE_SECONDS, Slot, inside, interrupt, kill, mark
from ollamake.sweep.snapshot import GIT_OWN, git
from ollamake.sweep.spec import Value
from ollamake.sweep.url import VARIABLE

STARTED = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
SKIPPED = re.compile(r"^Stage '([^']+)' (?:didn't change|is cached)", re.MULTILINE)
STAGE_ERROR = re.compile(r"^error: .*(?:\n(?!hint:|ERROR:|Traceback).+)*(?:\nhint: .*)?", re.MULTILINE)
PYTHON_ERROR = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)", re.MULTILINE)
DVC_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)
LAST_CHARACTERS = 2000
# What DVC gives to its stages, in case one of them runs `sweep`; and a storage, whose password is no stage's business.
NOT_FOR_TRIALS = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", VARIABLE, "PGPASSWORD")


class Run:
    """A trial's process; `log` keeps what it says."""

    def __init__(self, slot: Slot, name: str, overrides: Mapping[str, Value], gpu: str | None) -> None:
        self.slot, self.name, self.started = slot, name, time.monotonic()
        self.log = slot.folder.parent.parent / "logs" / f"{name}.log"
        self.log.parent.mkdir(exist_ok=True)
        sets = [argument for word in words(overrides) for argument in ("-S", word)]
        command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *sets, TARGET]
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                cwd=slot.code,
                env=_environment(slot, gpu),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the driver to answer
            )
        self._until = math.inf

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started

    def interrupt(self) -> None:
        """Ask it to end; `poll` ends it for good when it has not after a while."""
        interrupt(self.slot.folder)
        self._until = time.monotonic() + PATIENCE_SECONDS

    def poll(self) -> int | None:
        """Return its exit code once it has ended and nothing of it is left running, else None."""
        code = self._process.poll()
        if time.monotonic() > self._until or (code is not None and self._until == math.inf):
            kill(self.slot.folder)
            return self._process.wait()
        return None if inside(self.slot.folder) else code

    def said(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ran(self) -> list[str]:
        """Return the stages that did their work in it, not those that were skipped or came from the cache."""
        return STARTED.findall(self.said())

    def settled(self) -> set[str]:
        """Return the stages that it is done with, one way or the other."""
        said = self.said()
        started, skipped = list(STARTED.finditer(said)), list(SKIPPED.finditer(said))
        last = max([found.start() for found in [*started, *skipped]], default=0)
        return {found[1] for found in skipped} | {found[1] for found in started if found.start() < last}

    def curve(self, path: str) -> list[float]:
        """Return the points of the curve that training has drawn so far, in order.

        Before that stage has begun, DVC has the curve of the commit there.
        """
        copies = self.slot.copies()
        if not copies or TRAIN not in self.ran():
            return []
        try:
            text = (copies[0] / path).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        return points(text)

    def whole_curve(self, ref: str, path: str) -> list[float]:
        """Return the points of the curve of the experiment; none where it has no such curve."""
        try:
            return points(git("show", f"{ref}:{path}", cwd=self.slot.code))
        except SweepError:
            return []

    def error(self) -> str:
        """Return why it failed, in the words of the stage, of Python, of DVC, or the last ones in the log."""
        return reason(self.said())

    def metrics(self, ref: str) -> dict[str, float]:
        """Return the numbers of metrics/evaluate.json of the experiment."""
        return flatten(json.loads(git("show", f"{ref}:{METRICS}", cwd=self.slot.code)))


def points(text: str) -> list[float]:
    """Return the values of a curve, a line each after the first; the last line may be half written."""
    lines = text[: text.rfind("\n") + 1].splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def reason(said: str) -> str:
    """Return why a trial failed that said this."""
    said = said.replace("\r", "\n")
    for copy in re.findall(r"\S*/standalone/tmp[^/\s]*/", said):
        said = said.replace(copy, "")
    if found := STAGE_ERROR.findall(said) or PYTHON_ERROR.findall(said) or DVC_ERROR.findall(said):
        return str(found[0]).removeprefix("error: ").strip() or SILENT
    return said[-LAST_CHARACTERS:].strip() or SILENT


def _environment(slot: Slot, gpu: str | None) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in (*GIT_OWN, *NOT_FOR_TRIALS)}
    # `python` in dvc.yaml is the one that runs this.
    paths: Sequence[str] = [str(Path(sys.executable).parent), environment.get("PATH", "")]
    environment |= {
        "PATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        MARK: mark(slot.folder),
        # DVC keeps notes on every folder that it meets; those on a temporary copy go with it.
        "DVC_SITE_CACHE_DIR": str(slot.folder.absolute() / "site"),
    }
    return environment | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})
