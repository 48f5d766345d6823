import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ollamake.cli import app
from tests.conftest import REPOSITORY
from tests.unit.looked_at import lay_out

RUNNER = CliRunner()


@pytest.fixture
def workspace(tmp_path, monkeypatch, smollm2_tokenizer):
    lay_out(tmp_path, smollm2_tokenizer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments):
    return RUNNER.invoke(app, arguments)


def test_an_error_is_told_on_stderr_with_exit_code_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("summary")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == ("error: models/export/receipt.json: there is no finished build\nhint: `make build`\n")


def test_an_error_in_a_command_of_a_group_is_told_likewise(workspace):
    result = run("data", "show", "--row", "9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: data/tokenized/train.arrow: there is no row 9, it has 3 rows\nhint: take one from 1 to 3\n"
    )


def test_the_first_training_row_is_shown_unless_another_is_asked_for(workspace):
    assert run("data", "show").stdout.startswith("train row 1 of 3 · id first")
    assert run("data", "show", "--split", "test", "--row", "2").stdout.startswith("test row 2 of 3 · id up")
    assert run("data", "show", "--id", "third").stdout.startswith("train row 3 of 3 · id third")
    assert run("data", "show", "--pack", "1").stdout.startswith("packed row 1 of 2")
    assert "position" in run("data", "show", "--ids").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--row", "1", "--pack", "1"], "give one of them"),
        (["--row", "1", "--id", "first"], "give one of them"),
        (["--split", "val", "--pack", "1"], "only the train split is packed"),
        (["--split", "probe"], "'probe' is not one of 'train', 'val', 'test'"),
        (["--row", "0"], "greater than or equal to 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(workspace, options, said):
    result = run("data", "show", *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_stats_are_shown(workspace):
    result = run("data", "stats")
    assert result.exit_code == 0
    assert "Conversations in tokens" in result.stdout


def test_check_fails_for_a_rejected_row_and_not_for_a_repaired_one(workspace):
    (workspace / "rows.jsonl").write_text('{"instruction": "a ", "output": "b"}\n')
    assert run("data", "check", "rows.jsonl").exit_code == 0
    (workspace / "rows.jsonl").write_text("{}\n")
    result = run("data", "check", "rows.jsonl", "--shape", "instruction", "--limit", "1")
    assert result.exit_code == 1
    assert result.stdout.startswith("rows.jsonl:1: rejected: ")


def test_a_reader_that_stops_early_gets_no_traceback(workspace):
    (workspace / "rows.jsonl").write_text("{}\n" * 20_000)
    command = f"{sys.executable} -m ollamake data check rows.jsonl | head -n 2"
    result = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
    )
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == ""
