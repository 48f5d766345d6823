"""`python -m ollamake plan` as a person and a program meet it, on a real graph of DVC's."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.files import write_json
from ollamake.plan import outlook
from ollamake.plan.machine import Machine
from ollamake.plan.show import duration, size
from tests.conftest import REPOSITORY
from tests.planned import contents, lay_out

# DVC's own use of pygtrie; no issue is open (DVC 3.67.1, dvc/repo/trie.py).
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
SPLIT = {"rows": 90, "tokens": 4500, "supervised_tokens": 900, "length_p95": 70, "length_max": 90, "dropped": {}}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, tiny_base):
    """A finished build with a tiny base model and counted tokens."""
    folder = lay_out(tmp_path_factory.mktemp("planned") / "repository")
    shutil.copytree(tiny_base, folder / ".ollamake/base/tiny")
    files = dict.fromkeys([file.name for file in tiny_base.iterdir()], "")
    write_json(folder / "models/base.json", {"name": "tiny", "key": "tiny", "files": files})
    write_json(folder / "metrics/tokenize.json", dict.fromkeys(("train", "val", "test"), SPLIT))
    return folder


@pytest.fixture
def workspace(repository, tmp_path, monkeypatch):
    folder = tmp_path / "workspace"
    shutil.copytree(repository, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(outlook, "this_machine", lambda: Machine("", 32 * 10**9, 24 * 10**9, bf16=True))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_the_table_says_what_runs_why_and_what_it_takes(workspace):
    result = run("evaluate", "-S", "lora_rank=32")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "stage time memory disk why"
    assert [line.partition(" ")[0] for line in lines[1:3]] == ["train", "evaluate"]
    assert lines[1].endswith("lora_rank 16 -> 32")
    assert lines[2].startswith("evaluate follows")
    assert lines[2].endswith("because train will run")
    assert "unchanged prepare, baseline" in lines
    told = "90 rows, 9,000 tokens in all (1,800 of them supervised), 24 steps; counted by tokenize"
    assert f"training {told}" in lines
    assert "basis train, evaluate: rough" in lines
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


def test_where_nothing_has_to_run_it_says_so(workspace):
    result = run("evaluate")
    assert "nothing would run" in result.stdout
    assert result.exit_code == 0


def test_a_program_gets_seconds_bytes_and_words(workspace):
    plan = json.loads(run("evaluate", "-S", "lora_rank=32", "--json").stdout)
    fates = {"prepare": "unchanged", "train": "runs", "baseline": "unchanged", "evaluate": "follows"}
    assert {entry["stage"]: entry["fate"] for entry in plan["stages"]} == fates
    train = next(entry for entry in plan["stages"] if entry["stage"] == "train")
    assert train["reasons"] == ["lora_rank 16 -> 32"]
    assert train["peak_memory_bytes"] == pytest.approx(sum(train["memory_parts"].values()), abs=10)
    assert plan["training"]["steps"] == 24
    assert plan["total"]["seconds"] == pytest.approx(
        sum(entry["seconds"] for entry in plan["stages"] if "seconds" in entry), abs=0.2
    )
    assert plan["cautions"] == []


def test_a_build_that_certainly_cannot_run_ends_with_1(workspace):
    result = run("-S", "data_source=absent.txt")
    assert result.exit_code == 1
    assert "✗  prepare cannot run without absent.txt" in result.stdout


def test_looking_ahead_writes_nothing(workspace):
    before = contents(workspace)
    run("-S", "lora_rank=32")
    run("--json")
    assert contents(workspace) == before


def test_the_plan_is_made_without_torch(workspace):
    code = "import sys, ollamake.plan.outlook as plan; plan.look_ahead(None, []); print(' '.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert {"torch", "transformers", "datasets", "peft", "trl"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "?"), (4.4, "4 s"), (89, "89 s"), (130, "2 min"), (7100, "118 min"), (9000, "2.5 h")]
)
def test_times_are_said_as_a_person_says_them(seconds, said):
    assert duration(seconds) == said


def test_sizes_are_said_in_mb_and_gb():
    assert [size(1_500_000), size(2_439_000_000)] == ["2 MB", "2.4 GB"]
