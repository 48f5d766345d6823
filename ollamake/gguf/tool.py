"""Run a tool of llama.cpp in a process of its own: it may abort, and it brings modules that must not meet ours."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ollamake import errors
from ollamake.errors import ConversionError, OllamakeError

PACKAGE_ROOT = Path(__file__).parents[2]
SHOWN_LINES = 6
REFUSED = 3  # exit code of a module of ours whose last line is an error for a person
UNKNOWN = ("KeyError", "NotImplementedError")  # how the converter says that it does not know a part of a model


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
    if done.returncode == REFUSED and (told := _told(done.stdout)):
        raise getattr(errors, told.pop("kind"))(told.pop("problem"), **told)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()][-SHOWN_LINES:]
        how, hint = _ended(done.returncode, said)
        raise ConversionError("\n  ".join([f"{tool} {how}", *said]), where=str(arguments[0]), hint=hint)


def _told(output: str) -> dict[str, str]:
    """Return the error that `refusing` has written as the last line, nothing for what something else wrote there."""
    try:
        told: Any = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return told if isinstance(told, dict) and "kind" in told else {}


def _ended(code: int, said: Sequence[str]) -> tuple[str, str]:
    """Return how a tool ended, and what to do about it."""
    if code < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed ({known.get(-code, -code)})", (
            "SIGKILL: memory ran out, so close other programs or take a smaller base model; SIGILL: this processor "
            "lacks instructions that llama.cpp was built with; SIGBUS: the disk is full or failing"
        )
    if any(name in line for name in UNKNOWN for line in said):
        return f"failed with exit code {code}", (
            "a KeyError or NotImplementedError names what llama.cpp does not know about this base model; "
            "models/catalog.yaml lists those that work"
        )
    return f"failed with exit code {code}", "its last lines tell why; then `dvc repro --force --single-item convert`"


@contextmanager
def refusing() -> Iterator[None]:
    """Hand an error for a person, or one of the system's, on to the process that has started this one."""
    try:
        yield
    except OllamakeError as error:
        _tell(error)
    except Exception as error:
        told = errors.of_system(error)
        if told is None:
            raise
        _tell(told)


def _tell(error: OllamakeError) -> NoReturn:
    told = {"problem": error.problem, "where": error.where, "hint": error.hint}
    print(json.dumps({"kind": type(error).__name__, **told}))
    sys.exit(REFUSED)
