"""`python -m ollamake mode maintenance`: a served model is proved again, asked again, and written down."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.errors import ServerError
from ollamake.files import read_json, read_jsonl, write_json, write_jsonl
from ollamake.modes import answering
from ollamake.modes.answering import ask
from ollamake.modes.drift import LOG
from ollamake.modes.subject import find_subject
from ollamake.ollama.address import server_address
from ollamake.ollama.http_server import HttpServer
from ollamake.release import create as creation
from ollamake.release import lock
from ollamake.release.create import create
from ollamake.release.promote import promote
from tests.contract.graph import ROOT
from tests.contract_ollama.workspace import SYSTEM, convert, lock_of
from tests.released import built_workspace, export_model, items, set_params
from tests.standin import Fault, StandIn, running

__all__ = ["built_workspace"]
ITEMS = Path("models/evaluated/items.jsonl")
COUNT = 12


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.delenv("DVC_ROOT", raising=False)
        yield standin


@pytest.fixture
def build(tmp_path: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the last build left, and its model in the server."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    set_params(ollama_model="tiny", ollama_num_ctx=300, ollama_num_predict=64, system_prompt=SYSTEM)
    write_json(Path("models/base.json"), {"name": "tiny", "revision": "r1", "license": "apache-2.0"})
    write_json(Path("metrics/gate.json"), {"passed": True})
    convert(Path("models/gguf"))
    Path("dvc.lock").write_text(lock_of(folder, "models/gguf"))
    export_model()
    record(COUNT)
    return folder


def record(count: int) -> None:
    """Write test conversations, and as the record of them what the model in the server answers now."""
    rows = {
        row["id"]: [{"role": "user", "content": f"list {number}"}, {"role": "assistant", "content": f"ls {number}"}]
        for number, row in enumerate(items(0.4, count))
    }
    write_jsonl(answering.TEST, [{"id": key, "messages": messages} for key, messages in rows.items()])
    with HttpServer(server_address()) as server:
        lengths = {key: server.answer("tiny", messages[:-1], 1).prompt_tokens for key, messages in rows.items()}
        write_jsonl(ITEMS, [{**row, "prompt_tokens": lengths[row["id"]]} for row in items(0.4, count)])
        write_jsonl(ITEMS, ask(server, find_subject(None)).served)


def look(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["mode", "maintenance", *arguments])
    assert result.exit_code == code, result.output
    return result


def log() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()]


def change_record(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write_jsonl(ITEMS, [change(row) for row in read_jsonl(ITEMS)])


@pytest.mark.usefixtures("build")
def test_a_model_that_is_as_it_was_is_steady_and_the_look_is_written_down(standin: StandIn) -> None:
    shown = look().stdout
    assert "✓ answers of the GGUF itself: 5 of 5" in shown
    assert "steady: what is served is what was recorded\n" in shown
    [line] = log()
    assert (line["verdict"], line["model"], line["release"], line["items"]) == ("steady", "tiny:latest", None, COUNT)
    assert (line["server"], line["unanswered"], line["other_prompts"]) == (standin.url, 0, 0)
    assert line["change"]["rouge_l"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert not {"loss", "mean_new_tokens"} & set(line["change"])


@pytest.mark.usefixtures("build")
def test_a_line_that_was_torn_does_not_end_maintenance() -> None:
    LOG.parent.mkdir()
    LOG.write_bytes('{"model": "tiny:latest", "reasons": ["é'.encode()[:-1])
    look()
    assert "steady" in look().stdout
    torn, *whole = LOG.read_bytes().splitlines()
    assert torn.startswith(b'{"model"')
    assert [json.loads(line)["verdict"] for line in whole] == ["steady", "steady"]


@pytest.mark.usefixtures("build")
def test_scores_that_surely_fell_by_more_than_the_gate_allows_are_drift() -> None:
    change_record(lambda row: {**row, "scores": {**row["scores"], "rouge_l": 1.0}})
    result = look(code=3)
    assert "drift: ROUGE-L, % changed by " in result.stdout
    assert "and gate_max_regression allows -2.0" in result.stdout
    assert log()[0]["verdict"] == "drift"


@pytest.mark.usefixtures("build")
def test_scores_that_may_have_fallen_by_chance_are_no_drift() -> None:
    change_record(lambda row: {**row, "scores": {**row["scores"], "rouge_l": 1.0 if row["id"] == "0003" else 0.0}})
    look()
    assert log()[0]["change"]["rouge_l"]["value"] < -0.02


def test_another_model_under_the_name_is_drift_and_the_next_look_tells_what_changed(
    build: Path, standin: StandIn
) -> None:
    look()
    convert(build / "other", seed=1)
    kept = build / "models/gguf"
    kept.rename(build / "kept")
    shutil.copytree(build / "other", kept)
    Path("dvc.lock").write_text(lock_of(build, "models/gguf"))
    export_model()
    shutil.rmtree(kept)
    (build / "kept").rename(kept)
    result = look(code=3)
    assert "✗ answers of the GGUF itself" in result.stdout
    assert "the model is another one: " in result.stdout
    assert [line["verdict"] for line in log()] == ["steady", "drift"]


@pytest.mark.usefixtures("build")
def test_conversations_that_the_server_reads_otherwise_are_left_out_and_counted() -> None:
    change_record(lambda row: {**row, "prompt_tokens": 1} if row["id"] < "0004" else row)
    assert "8 test conversations, 4 with another prompt, left out" in look().stdout
    change_record(lambda row: {**row, "prompt_tokens": 1})
    result = look(code=1)
    assert "none of the 12 recorded conversations is here with the prompt that tiny:latest sees" in result.stderr
    assert len(log()) == 1


@pytest.mark.usefixtures("build")
def test_questions_without_a_whole_answer_score_as_empty_ones_unless_the_server_is_at_fault(standin: StandIn) -> None:
    with HttpServer(server_address()) as server:
        standin.faults.add(Fault("POST /api/chat", times=2, broken_off=True))
        answered = ask(server, find_subject(None))
        assert (answered.unanswered, len(answered.served)) == (2, COUNT)
        assert [row["prediction"] == "" for row in answered.served] == [True, True] + [False] * (COUNT - 2)
        standin.faults.add(Fault("POST /api/chat", times=3, broken_off=True))
        with pytest.raises(ServerError, match="began an answer and did not end it"):
            ask(server, find_subject(None))


@pytest.mark.usefixtures("build")
def test_a_model_that_is_not_there_and_a_server_that_is_not_there_are_errors(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpServer(server_address()) as server:
        server.delete("tiny:latest")
    assert "tiny:latest is not there\nhint: `dvc repro export` brings it" in look(code=1).stderr
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert "no Ollama server there" in look(code=1).stderr
    assert not LOG.exists()


def test_a_release_is_looked_at_under_the_name_that_its_users_call(
    built_workspace: Path, standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built_workspace, tmp_path / "workspace", symlinks=True)
    monkeypatch.chdir(tmp_path / "workspace")
    monkeypatch.setattr(lock, "require_current", lambda: None)
    export_model()
    record(COUNT)
    with HttpServer(server_address()) as server:
        monkeypatch.setattr(creation, "require_whole", lambda: None)  # the items recorded above are no build's
        made = create(server, None, "minor")
        promote(server, None)
        assert "tiny:prod at " in look().stdout
        assert (log()[0]["model"], log()[0]["release"]) == ("tiny:prod", "1.0.0")
        assert look("1.0.0").stdout.startswith(f"{made.tag} at ")
        shutil.rmtree("models/gguf")
        convert(Path("models/gguf"), seed=1)
        Path("dvc.lock").write_text(lock_of(Path(), "models/gguf"))
        export_model()
        server.copy("tiny:latest", "tiny:prod")
    result = look(code=3)
    assert f"tiny:prod is not {made.tag}: somebody moved it" in result.stdout
    assert read_json(Path("releases/channels.json"))["prod"] == "1.0.0"
