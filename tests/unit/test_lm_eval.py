"""`python -m ollamake lm-eval`: what it says without the package, and real tasks where that is installed."""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from ollamake import lm_eval
from ollamake.cli import app
from ollamake.files import read_json
from tests.contract.graph import ROOT
from tests.contract_ollama.workspace import convert
from tests.standin import StandIn
from tests.unit.taught import TEACHER as MODEL
from tests.unit.taught import school

INSTALLED = importlib.util.find_spec("lm_eval") is not None
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{target}"
{choices}generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 8
metric_list:
  - metric: {metric}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml that names the model, and two task files: one to write in, one to choose in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    params = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("ollama_model: ollamake-shell", f"ollama_model: {MODEL}"))
    rows = [{"question": f"list the files {number}", "answer": "ls", "choices": ["ls", "cd"]} for number in range(5)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("tasks").mkdir()
    kinds = {
        "writes": ("generate_until", "{{answer}}", "", "exact_match"),
        "chooses": ("multiple_choice", "0", 'doc_to_choice: "{{choices}}"\n', "acc"),
    }
    for name, (kind, target, choices, metric) in kinds.items():
        text = TASK.format(
            name=name, rows=tmp_path / "rows.jsonl", kind=kind, target=target, choices=choices, metric=metric
        )
        Path(f"tasks/{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    convert(tmp_path / "gguf")
    with school(tmp_path / "gguf", tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        yield standin


def command(*arguments: str) -> tuple[int, str, str]:
    """Run the command; return its exit code, what it printed and what it said on stderr."""
    done = CliRunner().invoke(app, ["lm-eval", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.skipif(INSTALLED, reason="lm-eval is installed")
@pytest.mark.usefixtures("workspace")
def test_without_the_package_the_command_says_how_to_get_it():
    code, _, said = command("gsm8k")
    assert (code, said) == (
        1,
        "error: lm-eval is not installed\nhint: `pip install 'lm-eval[api]'`, then the same command again\n",
    )


@pytest.mark.usefixtures("workspace")
def test_without_a_server_the_command_says_how_to_start_one(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setattr(lm_eval, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: True)))
    code, _, said = command("gsm8k")
    assert code == 1
    assert said == (
        f"error: http://127.0.0.1:9: no Ollama server (connection refused), so {MODEL} cannot be asked\n"
        "hint: start it (`ollama serve`), then the same command again\n"
    )


@pytest.fixture
def sent_keys(monkeypatch) -> list[str]:
    """What OPENAI_API_KEY holds each time that lm-eval would send it, in a package that does no more than that."""
    keys: list[str] = []

    def evaluate(**_: object) -> dict[str, object]:
        keys.append(os.environ["OPENAI_API_KEY"])
        if len(keys) > 1:
            raise RuntimeError("the server went away")
        return {"results": {}}

    tasks = {"tasks": {"writes": SimpleNamespace(OUTPUT_TYPE=lm_eval.WRITTEN)}}
    manager = SimpleNamespace(all_tasks=["writes"], load=lambda _: tasks)
    package = SimpleNamespace(__version__="0", simple_evaluate=evaluate)
    monkeypatch.setattr(lm_eval, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: True)))
    monkeypatch.setitem(sys.modules, "lm_eval", package)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", SimpleNamespace(TaskManager=lambda **_: manager))
    monkeypatch.setitem(sys.modules, "lm_eval.utils", SimpleNamespace(make_table=str))
    return keys


@pytest.mark.parametrize("of_openai", ["sk-real", None])
@pytest.mark.parametrize("of_server", ["proxy", None])
def test_the_key_of_openai_is_given_to_no_other_server_and_stays_as_it_is(
    tmp_path, standin, sent_keys, monkeypatch, of_openai, of_server
):
    for name, key in {"OPENAI_API_KEY": of_openai, "OLLAMA_API_KEY": of_server}.items():
        monkeypatch.setenv(name, key) if key else monkeypatch.delenv(name, raising=False)
    wish = lm_eval.Wish(["writes"], None, None, 0)
    lm_eval.run(MODEL, wish, tmp_path / "found.json")
    assert os.environ.get("OPENAI_API_KEY") == of_openai
    with pytest.raises(RuntimeError, match="went away"):
        lm_eval.run(MODEL, wish, tmp_path / "found.json")
    assert os.environ.get("OPENAI_API_KEY") == of_openai
    assert sent_keys == [of_server or ""] * 2


def test_the_stand_in_answers_as_openai_does(standin):
    messages = [{"role": "user", "content": "list the files"}]
    own = {"model": MODEL, "messages": messages, "stream": False, "options": {"temperature": 0, "num_predict": 9}}
    reply = httpx.post(f"{standin.url}/api/chat", json=own).json()
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 9}
    found = httpx.post(f"{standin.url}/v1/chat/completions", json=body).json()
    assert found["choices"][0]["message"] == reply["message"]
    assert found["choices"][0]["finish_reason"] == reply["done_reason"]
    assert found["usage"]["prompt_tokens"] == reply["prompt_eval_count"]


needs_package = pytest.mark.skipif(not INSTALLED, reason="lm-eval is no part of the lock: `pip install 'lm-eval[api]'`")


@needs_package
@pytest.mark.usefixtures("workspace")
def test_a_task_of_ones_own_runs_through_the_server(standin):
    code, shown, said = command("writes", "--include-path", "tasks", "--limit", "3", "--out", "found.json")
    assert code == 0, said
    found = read_json(Path("found.json"))
    assert found["digest"] == standin.models.tags()["models"][0]["digest"]
    assert (found["model"], found["limit"], found["n-samples"]["writes"]["effective"]) == (MODEL, 3, 3)
    assert found["results"]["writes"]["exact_match,none"] == 0
    assert standin.requests.count("POST /v1/chat/completions") == 3
    assert "|writes|" in shown.replace(" ", "")
    assert shown.endswith(f"{MODEL} in {standin.url}; results: found.json\n")


@needs_package
@pytest.mark.usefixtures("workspace")
def test_a_task_that_needs_the_log_probabilities_of_a_prompt_is_refused_before_any_question(standin):
    code, _, said = command("writes", "chooses", "--include-path", "tasks")
    assert code == 1
    assert "1 of 2 tasks need the log-probabilities of a prompt, which a server does not give: chooses" in said
    assert not [request for request in standin.requests if "chat" in request]


@needs_package
@pytest.mark.usefixtures("workspace", "standin")
def test_a_task_that_does_not_exist_is_named():
    code, _, said = command("writes", "sings", "--include-path", "tasks")
    assert (code, said.splitlines()[0]) == (1, "error: tasks: lm-eval has no task sings")


@needs_package
@pytest.mark.usefixtures("workspace")
def test_a_model_that_is_not_served_is_named(standin):
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    code, _, said = command("writes", "--include-path", "tasks")
    assert code == 1
    assert "there is no model ollamake-shell\nhint: `dvc repro export` puts it there" in said
