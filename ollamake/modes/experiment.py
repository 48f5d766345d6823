"""An experiment of DVC in a copy of its own: the workspace and params.yaml stay as they are."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ollamake.errors import OllamakeError
from ollamake.modes.presets import arguments

DVC = (sys.executable, "-m", "dvc")


def run(mode: str, overrides: Mapping[str, Any], target: str) -> str:
    """Run the graph up to `target` with the overrides; return the name of the experiment. Raises OllamakeError."""
    name = _free_name(mode)
    command = [*DVC, "exp", "run", "--temp", "--name", name, *arguments(overrides), target]
    _say(shlex.join(["dvc", *command[len(DVC) :]]))
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise OllamakeError(
            f"the experiment of mode {mode} stopped, and nothing of it is kept",
            hint="the message above says why; the workspace is as it was",
        )
    return name


def build() -> None:
    """Run the graph in the workspace, as `make build` does. Raises OllamakeError."""
    _say("dvc repro")
    if subprocess.run([*DVC, "repro"], check=False, stdout=sys.stderr).returncode:
        raise OllamakeError("the build stopped", hint="the message above says why; `dvc repro` goes on from there")


def metrics(name: str, stage: str) -> dict[str, Any]:
    """Return metrics/<stage>.json of an experiment."""
    found: dict[str, Any] = json.loads(_git("show", f"{_references()[name]}:./metrics/{stage}.json"))
    return found


def _free_name(mode: str) -> str:
    taken, number = _references(), 1
    while f"{mode}-{number}" in taken:
        number += 1
    return f"{mode}-{number}"


def _references() -> dict[str, str]:
    """Return the git reference of every experiment, by its name."""
    listed = _git("for-each-ref", "--format=%(refname)", "refs/exps/").split()
    return {reference.rpartition("/")[2]: reference for reference in listed}


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True)
    if ran.returncode:
        raise OllamakeError(
            f"`git {arguments[0]}` failed: {ran.stderr.strip()}",
            hint="experiments need a git repository with a commit: `git init && git add --all && git commit -m start`",
        )
    return ran.stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
