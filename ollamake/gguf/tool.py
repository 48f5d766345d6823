"""Run a tool of llama.cpp in a process of its own: it may abort, and it brings modules that must not meet ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ollamake import errors
from ollamake.errors import ConversionError, OllamakeError

PACKAGE_ROOT = Path(__file__).parents[2]
SHOWN_LINES = 6
REFUSED = 3  # exit code of a module of ours whose last line is an error for a person


def run_module(
    module: str, arguments: Sequence[str | Path], *, tool: str, folder: Path, environment: Mapping[str, str]
) -> None:
    """Run `python -m module` in `folder`; raise the error that it tells of, or ConversionError with its last lines."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == REFUSED:
        told = json.loads(done.stdout.splitlines()[-1])
        raise getattr(errors, told.pop("kind"))(told.pop("problem"), **told)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ConversionError(
            "\n  ".join([f"{tool} failed with exit code {done.returncode}", *said[-SHOWN_LINES:]]),
            where=str(arguments[0]),
            hint="a KeyError or NotImplementedError names what llama.cpp does not know about this base model; "
            "models/catalog.yaml lists those that work",
        )


@contextmanager
def refusing() -> Iterator[None]:
    """Hand an error for a person on to the process that has started this one."""
    try:
        yield
    except OllamakeError as error:
        told = {"problem": error.problem, "where": error.where, "hint": error.hint}
        print(json.dumps({"kind": type(error).__name__, **told}))
        sys.exit(REFUSED)
