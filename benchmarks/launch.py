"""Run a command for a benchmark: time, peak memory of its process tree, and nothing left running whatever happens."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

SAMPLE_SECONDS = 0.2
SHOWN_CHARACTERS = 3000


class LaunchError(Exception):
    """A command failed; the message ends with its output."""


@dataclass(frozen=True)
class Launch:
    """A command that ran to its end: when it started (CLOCK_MONOTONIC), how long it took, its peak, what it said."""

    started: float
    seconds: float
    peak_bytes: int
    output: str


def launch(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> Launch:
    """Run a command in a process group of its own, which ends with this call. Raises LaunchError when it fails."""
    with tempfile.TemporaryFile() as output:
        started, peak = time.monotonic(), 0
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None:
                peak = max(peak, tree_bytes(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SAMPLE_SECONDS)
            seconds = time.monotonic() - started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise LaunchError(f"{' '.join(command)} exited with {process.returncode}:\n{said[-SHOWN_CHARACTERS:]}")
    return Launch(started, seconds, peak, said)


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; one that has just ended counts nothing."""
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def telling_failures() -> Iterator[None]:
    """End with the message of a command that failed, and exit code 1."""
    try:
        yield
    except LaunchError as error:
        sys.exit(f"error: {error}")


def end_when_told() -> None:
    """Make SIGTERM end this process as Ctrl-C does: through every `finally`."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
