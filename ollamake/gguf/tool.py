"""Run a tool of llama.cpp in a process of its own: it may abort, and it brings modules that must not meet ours."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ollamake.errors import ConversionError

SHOWN_LINES = 6


def run_module(module: str, arguments: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str]) -> None:
    """Run `python -m module` in `folder`; raise ConversionError with its last lines when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ConversionError(
            "\n  ".join([f"{module} failed with exit code {done.returncode}", *said[-SHOWN_LINES:]]),
            where=str(arguments[0]),
            hint="a KeyError or NotImplementedError names what llama.cpp does not know about this base model; "
            "models/catalog.yaml lists those that work",
        )
