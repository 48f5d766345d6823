"""What distill and judge share in asking a model: whose answers are whose, and what is kept when it ends early."""

import json
from pathlib import Path

import pytest

from ollamake.asking.answers import Answer, Answers, Refusal
from ollamake.asking.model import Model
from ollamake.asking.role import JUDGE, TEACHER
from ollamake.asking.server import ModelServer
from ollamake.asking.sitting import sitting
from ollamake.distill.rows import prompt_key
from ollamake.distill.teacher import TeacherServer
from ollamake.errors import ServerError
from ollamake.files import read_json
from ollamake.judge.pairs import Pair
from ollamake.judge.question import SCHEMA, Question
from ollamake.judge.server import JudgeServer
from ollamake.ollama.address import parse_address

OPTIONS = {"temperature": 0.0, "seed": 1, "num_predict": 100, "num_ctx": 256}
MODEL = Model("a", "1" * 64, OPTIONS, thinks=False)
FIRST, SECOND = bytes(32), bytes([1]) * 32
SERVERS = [TeacherServer, JudgeServer]


def answer(text: str = "yes") -> Answer:
    return Answer(text, "stop", 1, "0.33.0")


@pytest.fixture
def answers(tmp_path: Path):
    with Answers(tmp_path, {}, "teacher") as answers:
        yield answers


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    for way in ("digest", "digest_at_once"):
        monkeypatch.setattr(request.param, way, lambda _, name: {"a:latest": MODEL.digest}[name])
    with request.param(parse_address("127.0.0.1:9")) as server:
        yield server


def test_answers_that_earlier_versions_kept_are_found_again(tmp_path, monkeypatch):
    """The keys as they were first written: with others, a user's teacher would be asked everything again."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    thinking = Model("a", "1" * 64, OPTIONS, thinks=True)
    judge = Model("a", "1" * 64, OPTIONS, thinks=False, form=SCHEMA)
    assert [model.key for model in (MODEL, thinking, judge)] == [
        "e8292d1545f850f2", "8984292582961ad0", "ff60893128ced940",
    ]  # fmt: skip
    assert prompt_key([{"role": "user", "content": "hé"}]).hex().startswith("62e3f8d1f53fda41")
    pair = Pair("a", "List {files}", "ls", base="b", tuned="t")
    assert Question(pair, True, "is it right?", "One.").key.hex().startswith("9c84a891689c1f67")
    for role, folder in ((TEACHER, "teacher"), (JUDGE, "judge")):
        with Answers.of(judge, role) as answers:
            answers.add(FIRST, answer())
        kept = tmp_path / ".ollamake" / folder / "ff60893128ced940"
        assert json.loads((kept / "answers.jsonl").read_text())["prompt"] == FIRST.hex()
        assert read_json(kept / f"{folder}.json") == judge.record()
        assert judge.record()["format"] == SCHEMA


def test_ctrl_c_between_an_answers_write_and_its_entry_in_memory_keeps_the_answer(
    server: ModelServer, answers: Answers, capsys
):
    answers.add(FIRST, answer())
    with pytest.raises(KeyboardInterrupt), sitting(server, MODEL, answers):
        answers.add(SECOND, answer())
        del answers._places[SECOND]
        raise KeyboardInterrupt
    assert SECOND in answers
    role = server.role
    said = f"2 {role.replies} are kept; `{role.command}` asks for the others only\n"
    assert capsys.readouterr().err == said


def test_what_another_model_of_the_name_said_is_not_kept(server: ModelServer, answers: Answers, monkeypatch):
    answers.add(FIRST, answer())
    with (
        pytest.raises(ServerError, match=f"a was replaced while it {server.role.did}, so what it said is not kept"),
        sitting(server, MODEL, answers),
    ):
        answers.add(SECOND, answer())
        monkeypatch.setattr(type(server), "digest", lambda *_: "2" * 64)
    assert [key in answers for key in (FIRST, SECOND)] == [True, False]


@pytest.mark.parametrize("error", [ServerError, KeyboardInterrupt, OSError])
def test_what_another_model_said_is_not_kept_when_the_asking_is_broken_off(
    server: ModelServer, answers: Answers, monkeypatch, capsys, error
):
    answers.add(FIRST, answer())
    with pytest.raises(error, match="the end"), sitting(server, MODEL, answers):
        answers.add(SECOND, answer())
        monkeypatch.setattr(type(server), "digest_at_once", lambda *_: "2" * 64)
        raise error("the end")
    assert [key in answers for key in (FIRST, SECOND)] == [True, False]
    role = server.role
    assert capsys.readouterr().err == (
        f"a was replaced while it {role.did}, so what it said is not kept\n"
        f"1 {role.replies} are kept; `{role.command}` asks for the others only\n"
    )


@pytest.mark.parametrize("asking", SERVERS)
def test_a_server_that_has_gone_is_asked_once_and_what_came_is_kept(asking, answers: Answers, capsys):
    pauses: list[float] = []
    with asking(parse_address("127.0.0.1:9"), sleep=pauses.append) as server:
        with pytest.raises(KeyboardInterrupt), sitting(server, MODEL, answers):
            answers.add(FIRST, answer())
            raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt), sitting(server, MODEL, answers):
            raise KeyboardInterrupt
    assert (FIRST in answers, pauses) == (True, [])
    kept = f"1 {server.role.replies} are kept; `{server.role.command}` asks for the others only\n"
    told = "http://127.0.0.1:9 does not tell whether a is still the model that was asked\n"
    assert capsys.readouterr().err == told + kept + kept


def test_what_the_model_itself_said_is_kept(server: ModelServer, answers: Answers, capsys):
    with sitting(server, MODEL, answers):
        answers.add(FIRST, answer())
    assert answers[FIRST] == answer()
    assert capsys.readouterr().err == ""


def test_a_refusal_is_known_to_this_run_only(tmp_path):
    refusal = Refusal("too long", "no")
    with Answers(tmp_path, {}, "teacher") as answers:
        answers.add(FIRST, refusal)
        answers.add(SECOND, answer())
        assert (answers[FIRST], len(answers), FIRST in answers) == (refusal, 1, False)
    with Answers(tmp_path, {}, "teacher") as again:
        assert [key in again for key in (FIRST, SECOND)] == [False, True]


def test_a_schema_is_part_of_the_request_where_there_is_one():
    messages = [{"role": "user", "content": "?"}]
    body = {"model": "a", "messages": messages, "options": OPTIONS, "truncate": False, "shift": False, "stream": True}
    assert MODEL.request(messages, stream=True) == body
    judge = Model("a", "1" * 64, OPTIONS, thinks=True, form=SCHEMA)
    assert judge.request(messages, stream=False) == {**body, "stream": False, "format": SCHEMA, "think": False}
