"""R1.2: what DVC really executes after one change is what follows from dvc.yaml, and no stage twice.

DVC runs the real graph here, with its real inputs; each command only notes that it ran and leaves something new, so
that no stage is spared because another one made the same again (that is R1.3).
"""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.contract.graph import downstream, read_yaml, readers_of, stages
from tests.counts import dice, times
from tests.pipeline.conftest import copy_repository, records
from tests.pipeline.test_graph import another, change, files_read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("executions"),
    pytest.mark.row("R1.2"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # dvc 3.67.1, repo/trie.py
]

SOURCE = "data/tiny.jsonl"
# Its first argument is the stage, the others are what the stage writes: how many stages have run by then, so that it is
# never the same again.
COMMAND = """#!/bin/sh
echo "$1" >> ran.log
for out in "$@"; do
  case "$out" in */*) mkdir -p "$(dirname "$out")"; wc -l < ran.log > "$out" ;; esac
done
"""
# DVC takes a quarter of a second to write dvc.lock after each stage, so that all keys and files take minutes.
NIGHTLY = times(30, release=1_000)
FEW_KEYS = ("judge_seed", "precision")
FEW_FILES = ("ollamake/scoring/score.py",)


@dataclass
class Workspace:
    """A copy of the repository in which `dvc repro` runs the noting commands."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def executed(self) -> list[str]:
        """Run `dvc repro`; return the stages that ran, in their order."""
        log = self.folder / "ran.log"
        before = len(log.read_text().split()) if log.exists() else 0
        with chdir(self.folder), Repo() as repository:
            repository.reproduce()
        return log.read_text().split()[before:]

    def set(self, name: str, key: str, value: object) -> None:
        """Write another value for a key of params.yaml or pins.yaml."""
        change(self.folder / name, rf"^{key}: .*$", f"{key}: {json.dumps(value)}")

    def edit(self, file: str) -> None:
        """Make a file another one."""
        content = (self.folder / file).read_bytes()
        (self.folder / file).unlink()  # it may be a link into DVC's cache
        (self.folder / file).write_bytes(content + b"\n# %d\n" % next(self.numbers))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = copy_repository(tmp_path_factory.mktemp("executions") / "copy")
    (folder / SOURCE).write_text("".join(json.dumps(record) + "\n" for record in records()))
    (folder / "run.sh").write_text(COMMAND)
    change(folder / "params.yaml", r"^data_source: .*$", f"data_source: {SOURCE}")
    for name, stage in stages().items():
        command = shlex.join(["sh", "run.sh", name, *sorted(stage.outs)])
        change(folder / "dvc.yaml", rf"^    cmd: {re.escape(stage.cmd)}$", f"    cmd: {command}")
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    found = Workspace(folder)
    assert sorted(found.executed()) == sorted(stages())
    return found


def assert_minimal(ran: list[str], direct: set[str], what: str) -> None:
    """Assert that those stages ran that read what changed, and those that follow, and export, each once."""
    assert len(ran) == len(set(ran)), what
    assert set(ran) == downstream(direct) | {"export"}, what


def assert_keys(workspace: Workspace, keys: Iterator[str] | list[str]) -> None:
    for key in keys:
        workspace.set("params.yaml", key, another(read_yaml("params.yaml")[key]))
        assert_minimal(workspace.executed(), {name for name, stage in stages().items() if key in stage.params}, key)


def assert_files(workspace: Workspace, files: list[str] | tuple[str, ...]) -> None:
    for file in files:
        workspace.edit(file)
        assert_minimal(workspace.executed(), readers_of(file, source=SOURCE), file)


def test_a_changed_key_executes_its_stages_and_those_that_follow_once(workspace):
    assert_keys(workspace, list(FEW_KEYS))


def test_a_changed_file_executes_its_stages_and_those_that_follow_once(workspace):
    assert_files(workspace, FEW_FILES)


@pytest.mark.nightly
def test_any_key_executes_its_stages_and_those_that_follow_once(workspace):
    keys = sorted(read_yaml("params.yaml").keys() - {"data_source", *FEW_KEYS})
    assert len(keys) > 90
    assert_keys(workspace, drawn(keys))


@pytest.mark.nightly
def test_any_package_executes_its_stages_and_those_that_follow_once(workspace):
    for package, version in drawn(sorted(read_yaml("pins.yaml").items())):
        workspace.set("pins.yaml", package, f"9.{version}")
        direct = {name for name, stage in stages().items() if package in stage.pins}
        assert_minimal(workspace.executed(), direct, package)


@pytest.mark.nightly
def test_any_file_executes_its_stages_and_those_that_follow_once(workspace):
    files = [file for file in files_read(workspace.folder) if file not in FEW_FILES and not written_by_a_stage(file)]
    assert len(files) > 120
    assert_files(workspace, drawn(files))


def drawn(names: list) -> list:
    """Return those of this night: tests/pipeline/test_graph.py asks DVC about all of them every time."""
    return dice(names).sample(names, min(NIGHTLY, len(names)))


def written_by_a_stage(file: str) -> bool:
    """Whether a stage would put it back."""
    return any(file == out or file.startswith(f"{out}/") for stage in stages().values() for out in stage.outs)
