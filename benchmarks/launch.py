"""Run a command for a benchmark: time, peak memory of its process tree, and nothing left running whatever happens."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks.budgets import tree_bytes

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


def end_when_told() -> None:
    """Make SIGTERM end this process as Ctrl-C does: through every `finally`."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
