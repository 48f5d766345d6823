"""The judge stage: real replies of a tiny model in the stand-in, and judges of every kind of mind, put in its place."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from ollamake.asking.answers import Answer, Refusal
from ollamake.errors import DataError, ServerError
from ollamake.files import read_json, write_jsonl
from ollamake.judge.page import page
from ollamake.judge.pairs import Pair
from ollamake.judge.question import SCHEMA, Question
from ollamake.judge.server import JudgeServer
from ollamake.judge.verdicts import Verdict, summarize, verdict, wilson
from ollamake.ollama import retry
from stages.judge import METRICS, PAGE, Params, main
from tests.arrow import write_tokens
from tests.contract.graph import ROOT
from tests.contract_ollama import tiny_gguf
from tests.contract_ollama.workspace import convert
from tests.standin import Fault, StandIn
from tests.standin.problem import Problem
from tests.unit.taught import TEACHER as JUDGE
from tests.unit.taught import school

CHAT = "POST /api/chat"
PAIR = Pair("a", "List {files}", "ls", base="You could {use} ls.", tuned="ls")
SETTINGS = {
    "judge_criteria": "is it right?",
    "judge_max_examples": 0,
    "judge_max_new_tokens": 150,
    "judge_model": JUDGE,
    "judge_num_ctx": 2048,
    "judge_parallel": 2,
    "judge_seed": 1,
    "system_prompt": "Reply with one command.",
}
PROMPTS = 6

Mind = Callable[[str, str], str]  # the two answers as the judge sees them; the reply


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_gguf, "CONTEXT", 2048)  # it reads letter by letter
        convert(folder)
    return folder


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six scored conversations of eight: the tuned model is right on all, the base model on the first alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.01)
    write_tokens(Path("data/tokenized/test.arrow"), [row(number) for number in range(PROMPTS + 2)])
    write_answers("evaluated", [f"right {number}" for number in range(PROMPTS)])
    write_answers("baseline", ["right 0", *(f"wrong {number}" for number in range(1, PROMPTS))])
    return tmp_path


def row(number: int) -> dict[str, Any]:
    question = {"prompt": f"wish {number}", "reference": f"good {number}"}
    return {"id": f"{number:016x}", "input_ids": [1, 2, 3], "labels": [-100, 2, 3], "prompt_length": 1, **question}


def write_answers(model: str, answers: list[str]) -> None:
    Path(f"models/{model}").mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"{number:016x}", "prediction": text, "stopped": True} for number, text in enumerate(answers)]
    write_jsonl(Path(f"models/{model}/items.jsonl"), rows)


@pytest.fixture
def standin(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with school(converted, tmp_path / "server", num_ctx=2048) as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        yield standin


def think(standin: StandIn, monkeypatch: pytest.MonkeyPatch, mind: Mind, reason: str = "stop") -> list[dict[str, Any]]:
    """Give the model in the server a mind; return the list in which the options of each question will stand."""
    asked = []

    def complete(gguf: Path, prompt: str, options: dict[str, Any], likeliest: int | None) -> dict[str, Any]:
        asked.append(options)
        first, second = (re.search(f"<{place}>\n(.*)\n</{place}>", prompt)[1] for place in ("first", "second"))
        return {"text": mind(first, second), "prompt_tokens": 9, "tokens": 9, "reason": reason, "logprobs": []}

    monkeypatch.setattr(standin.models.engine, "complete", complete)
    return asked


def says(place: str, why: str = "because") -> str:
    return json.dumps({"reason": why, "better": place})


def honest(first: str, second: str) -> str:
    return says("first" if first.startswith("right") else "second" if second.startswith("right") else "neither")


def judge(**changes: object) -> dict[str, Any]:
    """Run the stage here; return its metrics."""
    main(Params.model_validate({**SETTINGS, **changes}))
    return read_json(METRICS)


def test_an_honest_judge_finds_the_better_model_and_is_told_nothing_of_equal_answers(standin, monkeypatch, capsys):
    asked = think(standin, monkeypatch, honest)
    found = judge()
    assert (found["items"], found["win"], found["tie"], found["loss"]) == (6, 5, 1, 0)
    assert (found["same_answer"], found["order_disagreements"], found["first_place_share"]) == (1, 0, 0.5)
    assert found["score"] == pytest.approx(5.5 / 6)
    assert found["score_low"] < found["score"] < found["score_high"] <= 1
    assert len(asked) == 2 * 5
    assert capsys.readouterr().out == (
        f"{JUDGE}, tuned against base: 5 won, 1 tied, 0 lost; score 92% (95 % interval 52% to 99%; "
        "50 % = no difference)\nexamples: models/judge.md\n"
    )


@pytest.mark.parametrize("place", ["first", "second"])
def test_a_judge_that_always_prefers_one_place_says_nothing(standin, monkeypatch, place):
    think(standin, monkeypatch, lambda *_: says(place))
    found = judge()
    assert (found["win"], found["tie"], found["loss"]) == (0, 6, 0)
    assert found["score"] == 0.5
    assert found["order_disagreements"] == 5
    assert found["first_place_share"] == (1 if place == "first" else 0)


def test_a_judge_that_wavers_between_a_win_and_nothing_gives_a_tie(standin, monkeypatch):
    think(standin, monkeypatch, lambda first, _: says("first" if first.startswith("right") else "neither"))
    found = judge()
    assert (found["win"], found["tie"], found["order_disagreements"]) == (0, 6, 5)


def test_the_better_base_model_wins(standin, monkeypatch):
    think(standin, monkeypatch, lambda first, second: honest(second, first))
    found = judge()
    assert (found["win"], found["tie"], found["loss"]) == (0, 1, 5)


def test_the_judge_is_asked_for_its_likeliest_reply_in_the_form_of_the_schema(standin, monkeypatch):
    asked = think(standin, monkeypatch, honest)
    found = judge()
    options = {"temperature": 0.0, "repeat_penalty": 1.0, "seed": 1, "num_predict": 150, "num_ctx": 2048}
    assert asked[0].items() >= {**options, "json_schema": SCHEMA}.items()
    assert found["judge_model"] == JUDGE
    assert found["digest"] == standin.models.tags()["models"][0]["digest"]
    assert found["options"] == options
    assert found["server_version"] == "0.33.0"


def test_a_real_model_is_held_to_the_schema(standin):
    # Temperature, because the likeliest letters of this random model are spaces without end.
    reason = {**SCHEMA["properties"]["reason"], "maxLength": 10}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "reason": reason}}
    options = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "num_predict": 400, "num_ctx": 2048}
    replies = [ask(standin, schema, {**options, "seed": seed}) for seed in range(3)]
    rulings = [Question(PAIR, True, "x", "").read(reply["message"]["content"]) for reply in replies]
    assert [reply["done_reason"] for reply in replies] == ["stop"] * 3
    assert all(ruling and len(ruling.reason) <= 10 for ruling in rulings)


def ask(standin: StandIn, form: object, options: dict[str, Any]) -> dict[str, Any]:
    messages = Question(PAIR, True, "is it right?", "").messages
    body = {"model": JUDGE, "messages": messages, "stream": False, "format": form, "options": options}
    return httpx.post(f"{standin.url}/api/chat", json=body, timeout=60).json()


def test_a_model_that_rambles_is_an_error_and_what_it_said_is_kept(standin, workspace):
    for _ in range(2):
        with pytest.raises(ServerError, match=r"no verdict on any of 2 pairs; .* did not end within"):
            judge(judge_max_examples=3)
    assert standin.requests.count(CHAT) == 4
    assert not METRICS.exists()


def test_nothing_is_asked_twice(standin, monkeypatch):
    asked = think(standin, monkeypatch, honest)
    judge(judge_max_examples=3)
    assert len(asked) == 4
    judge()
    assert len(asked) == 10
    judge(judge_criteria="is it short?", judge_max_examples=2)
    assert len(asked) == 12


def test_what_was_ruled_before_the_server_went_is_kept(standin, monkeypatch, capsys):
    asked = think(standin, monkeypatch, honest)
    gone = {"status": 404, "message": f"model '{JUDGE}' not found"}
    judge(judge_max_examples=3)
    standin.faults.add(Fault(CHAT, times=9, **gone))
    with pytest.raises(ServerError, match="the model has vanished"):
        judge(judge_parallel=1)
    assert "4 rulings are kept" in capsys.readouterr().err
    standin.faults.clear()
    judge()
    assert len(asked) == 10


def test_ctrl_c_keeps_what_was_ruled(standin, monkeypatch, capsys):
    def rule(server: JudgeServer, *arguments: Any, ask=JudgeServer.rule) -> Answer | Refusal:
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(server, *arguments)

    asked = think(standin, monkeypatch, honest)
    monkeypatch.setattr(JudgeServer, "rule", rule)
    with pytest.raises(KeyboardInterrupt):
        judge(judge_parallel=1)
    assert "3 rulings are kept; `dvc repro judge` asks for the others only\n" in capsys.readouterr().err


def test_a_judge_replaced_meanwhile_counts_for_nothing(standin, monkeypatch, workspace):
    def replaced(first: str, second: str) -> str:
        monkeypatch.setattr(standin.store, "digest", lambda _: "f" * 64)
        return honest(first, second)

    think(standin, monkeypatch, replaced)
    with pytest.raises(ServerError, match="was replaced while it judged"):
        judge()
    assert [path.read_bytes() for path in workspace.glob(".ollamake/judge/*/answers.jsonl")] == [b""]
    assert not METRICS.exists()


def test_a_reply_out_of_form_leaves_the_pair_without_a_verdict(standin, monkeypatch):
    think(standin, monkeypatch, lambda *both: "no idea" if "wrong 3" in both else honest(*both))
    found = judge()
    assert found["unjudged"] == {"is not in the form that was asked for": 1}
    assert (found["items"], found["win"], found["tie"]) == (6, 4, 1)
    assert "- without a verdict: 1 (its reply is not in the form that was asked for)\n" in PAGE.read_text()


def test_a_judge_whose_replies_never_end_is_an_error(standin, monkeypatch):
    think(standin, monkeypatch, honest, reason="length")
    with pytest.raises(ServerError, match="no verdict on any of 5 pairs; .* did not end within") as failure:
        judge()
    assert "judge_max_new_tokens" in failure.value.hint


def test_a_pair_that_does_not_fit_is_counted_and_asked_again_the_next_time(standin, monkeypatch):
    def short_of_room(first: str, second: str) -> str:
        if "right 4" in (first, second):
            raise Problem(400, "the input length exceeds the context length")
        return honest(first, second)

    asked = think(standin, monkeypatch, short_of_room)
    found = judge()
    assert (found["unjudged"], found["win"]) == ({"does not fit into judge_num_ctx": 1}, 4)
    judge()
    assert len(asked) == 10 + 2


def test_without_a_judge_nothing_is_asked_and_it_is_said(monkeypatch, capsys):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    assert judge(judge_model="none") == {"judge_model": "none"}
    assert "Nobody was asked" in PAGE.read_text()
    assert capsys.readouterr().out == "no judge: judge_model is none\n"


def test_without_a_judge_nothing_heavy_loads():
    code = "import sys; from stages import judge; print([name for name in ('httpx', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_a_judge_without_a_server_is_an_error_with_the_way_on(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with pytest.raises(ServerError, match=f"no Ollama server .* judge {JUDGE} cannot be asked") as failure:
        judge()
    assert "judge_model: none" in failure.value.hint
    assert not METRICS.exists()


def test_a_judge_that_is_not_there_is_told_with_those_that_are(standin):
    with pytest.raises(ServerError, match=f"there is no model nobody; there are: {JUDGE}"):
        judge(judge_model="nobody")


def test_answers_to_other_conversations_are_refused(standin):
    write_answers("baseline", ["right 0"])
    with pytest.raises(DataError, match="did not answer the same test conversations: 5 are on one side only"):
        judge()


@pytest.mark.parametrize(
    ("key", "value"),
    [("judge_num_ctx", 150), ("judge_parallel", 0), ("judge_max_examples", -1), ("judge_criteria", "")],
)
def test_a_parameter_without_sense_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        Params.model_validate({**SETTINGS, key: value})


def test_the_judge_sees_request_reference_and_answers_and_no_name_of_a_model():
    orders = [Question(PAIR, first, "is it right?", "One command.") for first in (True, False)]
    texts = [question.messages[1]["content"] for question in orders]
    assert texts[0] == (
        "<request>\nOne command.\n\nList {files}\n</request>\n<reference>\nls\n</reference>\n"
        "<first>\nls\n</first>\n<second>\nYou could {use} ls.\n</second>"
    )
    assert "<first>\nYou could {use} ls.\n</first>" in texts[1]
    assert orders[0].key != orders[1].key
    assert not any(name in str(question.messages) for question in orders for name in ("tuned", "base"))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"better": "first"}', says("third"), '{"reason": "x", "bet'])
def test_what_is_no_ruling_is_none(text):
    assert Question(PAIR, True, "x", "").read(text) is None


def verdict_of(*replies: Answer) -> Verdict:
    return verdict(PAIR, [Question(PAIR, first, "x", "") for first in (True, False)], replies)


def test_the_page_shows_wins_ties_and_losses_and_lets_no_text_out_of_its_place(standin):
    def ruled(*places: str) -> Verdict:
        return verdict_of(*(Answer(says(place, "# so *there*\n`x`"), "stop", 1, "1") for place in places))

    verdicts = [*[ruled("first", "second")] * 20, ruled("second", "first"), ruled("first", "first"), Verdict(PAIR)]
    metrics = {"judge_model": "j", "digest": "0123456789abcdef", **summarize(verdicts)}
    lines = page(verdicts, metrics).splitlines()
    heads = [line.split()[2] for line in lines if line.startswith("## ")]
    assert heads[:4] == ["win", "tie", "loss", "win"]
    assert len(heads) == 12
    assert "- tuned first: **tuned**. \\# so \\*there\\* \\`x\\`" in lines
    assert "- base first: **tuned**. \\# so \\*there\\* \\`x\\`" in lines


def test_the_interval_is_wilsons():
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
