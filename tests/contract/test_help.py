"""`--help` reads well for every command, and TAB knows what may follow."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ollamake.cli import PANELS, app
from ollamake.completion import VARIABLE, parameters, releases
from tests.contract.graph import ROOT, read_yaml

LONGEST = 120  # characters of the line that a list of commands shows


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for each, sub in getattr(command, "commands", {}).items():
        yield f"{name} {each}".strip(), sub
        yield from walk(sub, f"{name} {each}".strip())


COMMANDS = dict(walk(get_command(app)))


def test_there_are_many_commands():
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_says_in_one_line_what_it_does(name):
    first = (COMMANDS[name].help or "").split("\n\n")[0].replace("\n", " ")
    assert 10 < len(first) <= LONGEST, first
    assert first[0].isupper()
    assert first.endswith(".")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_and_argument_of_a_command_is_explained(name):
    unexplained = [each.name for each in COMMANDS[name].params if each.name != "help" and not getattr(each, "help", "")]
    assert unexplained == []


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if " " not in name))
def test_a_command_stands_in_a_panel(name):
    assert COMMANDS[name].rich_help_panel in PANELS


def test_the_panels_stand_in_the_order_in_which_a_person_meets_them():
    shown = CliRunner().invoke(app, ["--help"]).stdout
    places = [shown.index(panel) for panel in PANELS]
    assert places == sorted(places)
    assert "Examples:" in shown


def complete(*words: str) -> list[str]:
    """What the shell is told when the cursor stands behind the last word."""
    asked = {VARIABLE: "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-m", "ollamake"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **asked}, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ollamake", "mode", "de"], ["design", "deployment"]),
        (["ollamake", "mode", "design", "-S", "lora_a"], [f"lora_alpha={read_yaml('params.yaml')['lora_alpha']}"]),
        (["ollamake", "data", "show", "--split", ""], ["train", "val", "test"]),
    ],
)
def test_what_may_follow_is_offered(words, offered):
    assert complete(*words) == offered


def test_bash_takes_the_script_and_completes_a_command_of_its_own_not_python():
    script = (
        "source <(python -m ollamake completion bash); COMP_WORDS=(ollamake mod) COMP_CWORD=1; _ollamake; "
        'echo "${COMPREPLY[@]}"; complete -p python 2>&1 | tail -n 1; ollamake completion zsh | head -n 1'
    )
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # noqa: PTH120
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    offered, python, zsh = done.stdout.splitlines()
    assert sorted(offered.split()) == ["mode", "models"]
    assert "no completion specification" in python
    assert zsh == "autoload -U +X bashcompinit && bashcompinit"


def test_versions_of_releases_are_offered_and_outside_a_project_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [*parameters(""), *releases("")] == []
    (tmp_path / "releases").mkdir()
    for name in ("1.2.0.json", "1.2.0.proof.json", "2.0.0.proof.json"):
        (tmp_path / "releases" / name).touch()
    assert list(releases("1")) == ["1.2.0"]
