"""What distill relies on: of the stand-in and, by OLLAMAKE_CONTRACT_URL, of Ollama itself."""

import json
from collections.abc import Iterator

import httpx
import pytest

from ollamake.asking.answers import Answer, Refusal
from ollamake.asking.model import Model
from ollamake.distill.teacher import UNFIT, TeacherServer
from ollamake.errors import ServerError
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.served import ServedModel
from tests.contract_ollama.workspace import CONVERSATIONS, PARAMETERS

OPTIONS = {"temperature": 0.0, "seed": 1, "num_predict": 40, "num_ctx": 256}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


@pytest.fixture
def school(server: HttpServer) -> Iterator[TeacherServer]:
    """The server under contract, as distill sees it, without pauses between tries."""
    with TeacherServer(parse_address(server.url), sleep=lambda _: None) as school:
        yield school


@pytest.fixture
def teacher(server: HttpServer, school: TeacherServer, model: ServedModel) -> Model:
    """The tiny model in that server."""
    server.upload(model.gguf, model.serving.sha256)
    server.create(model.name, model.serving.sha256, model.modelfile)
    return school.find(model.name, OPTIONS)[0]


def by_hand(school: TeacherServer, teacher: Model, messages: list[dict[str, str]]) -> dict[str, object]:
    """The reply to a request without a stream."""
    body = {"model": teacher.name, "messages": messages, "stream": False, "options": OPTIONS}
    return httpx.post(f"{school.url}/api/chat", json=body, timeout=600).json()


def test_a_teacher_is_found_by_its_name_with_and_without_tag_in_any_case(
    server: HttpServer, school: TeacherServer, teacher: Model
) -> None:
    assert teacher.digest == server.digest(teacher.name)
    assert not teacher.thinks
    for name in (teacher.name.removesuffix(":latest"), teacher.name.upper().replace("LATEST", "latest")):
        found, version = school.find(name, OPTIONS)
        assert (found.key, version) == (teacher.key, server.version())


def test_the_penalty_of_the_model_stays_its_own(teacher: Model) -> None:
    assert PARAMETERS["repeat_penalty"] != 1.0
    assert teacher.options == OPTIONS


def test_an_answer_comes_whole_with_its_end_and_its_length(school: TeacherServer, teacher: Model) -> None:
    version = school.version()
    for messages in CONVERSATIONS:
        reply = by_hand(school, teacher, messages)
        given = school.answer(teacher, messages, version)
        assert given == Answer(reply["message"]["content"], reply["done_reason"], reply.get("eval_count", 0), version)


def test_an_answer_that_is_cut_says_so(school: TeacherServer, teacher: Model) -> None:
    short = Model(teacher.name, teacher.digest, {**OPTIONS, "num_predict": 2}, thinks=False)
    reasons = {school.answer(short, messages, "v").done_reason for messages in CONVERSATIONS}
    assert "length" in reasons


def test_a_prompt_that_does_not_fit_is_refused_and_not_shortened(school: TeacherServer, teacher: Model) -> None:
    turns = [("user", "word " * 100), ("assistant", "b"), ("user", "c")]
    messages = [{"role": role, "content": text} for role, text in turns]
    refusal = school.answer(teacher, messages, "v")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == UNFIT


def test_a_teacher_that_is_not_there_is_told_with_those_that_are(school: TeacherServer, teacher: Model) -> None:
    with pytest.raises(ServerError, match="there is no model ollamake-nobody/nothing; there are: ") as failure:
        school.find("ollamake-nobody/nothing", OPTIONS)
    assert teacher.full_name in failure.value.problem or "…" in failure.value.problem


def test_a_teacher_that_vanishes_ends_the_asking(server: HttpServer, school: TeacherServer, teacher: Model) -> None:
    server.delete(teacher.full_name)
    with pytest.raises(ServerError, match="the model has vanished from the server"):
        school.answer(teacher, CONVERSATIONS[0], "v")


def line(text: str, **fields: object) -> bytes:
    """A line of a stream."""
    return json.dumps({"message": {"content": text}, "done": False, **fields}, ensure_ascii=False).encode() + b"\n"


def answer_of(port: int) -> Answer | Refusal:
    """Ask whatever is at a port."""
    with TeacherServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as school:
        return school.answer(Model("a", "0" * 64, OPTIONS, thinks=False), CONVERSATIONS[0], "v")


@pytest.mark.parametrize("end", ["\u0085", "\u2028"])
def test_what_ends_a_line_elsewhere_is_part_of_the_answer(raw_reply: tuple[list[bytes], int], end: str) -> None:
    reply, port = raw_reply
    reply += [HEAD, line(f"one{end}two"), line("", done=True, done_reason="stop", eval_count=3)]
    assert answer_of(port) == Answer(f"one{end}two", "stop", 3, "v")


def test_an_answer_of_nothing_has_no_length(raw_reply: tuple[list[bytes], int]) -> None:
    reply, port = raw_reply
    reply += [HEAD, line("", done=True, done_reason="stop")]
    assert answer_of(port) == Answer("", "stop", 0, "v")


def test_an_answer_without_an_end_is_given_up(raw_reply: tuple[list[bytes], int]) -> None:
    reply, port = raw_reply
    reply += [HEAD, line("again ") * 100_000]
    with pytest.raises(ServerError, match="an answer without an end"):
        answer_of(port)


def test_an_answer_that_breaks_off_is_none(raw_reply: tuple[list[bytes], int]) -> None:
    reply, port = raw_reply
    reply += [HEAD, line("half of")]
    with pytest.raises(ServerError, match="the stream ended before the answer did"):
        answer_of(port)


@pytest.mark.parametrize(
    "body", [b"<html>a router's page</html>\n", b"[]\n", b"null\n", b'{"v": 1}\n', b"{}\n", b"\xff"]
)
def test_something_else_at_the_port_is_recognized(raw_reply: tuple[list[bytes], int], body: bytes) -> None:
    reply, port = raw_reply
    reply += [HEAD, body]
    with pytest.raises(ServerError, match="not as Ollama does"):
        answer_of(port)


@pytest.mark.parametrize("capability", ["embedding", 5])
def test_a_model_that_only_embeds_is_no_teacher(raw_reply: tuple[list[bytes], int], capability: object) -> None:
    reply, port = raw_reply
    # One body for the three requests: each finds what it looks for.
    known = {"version": "0.33.0", "models": [{"name": "a:latest", "digest": "0"}], "capabilities": [capability]}
    reply += [HEAD, json.dumps(known).encode()]
    with (
        TeacherServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as school,
        pytest.raises(ServerError, match=f"a does not answer prompts; it is made for {capability}"),
    ):
        school.find("a", OPTIONS)
