"""What every request to a server says of the one who asks, and what it leaves unsaid."""

import traceback

import httpx
import pytest

from ollamake.asking.model import Model
from ollamake.errors import ServerError
from ollamake.ollama import connection
from ollamake.ollama.address import parse_address
from ollamake.ollama.connection import Connection
from ollamake.ollama.http_server import HttpServer

ADDRESS = parse_address("http://127.0.0.1:9")


def sent(server: HttpServer) -> list[httpx.Headers]:
    """The headers of both clients that a server is asked with: ours, and the one of the `ollama` library."""
    return [server._http.headers, server._ollama._client.headers]


@pytest.mark.parametrize("key", ["sk-1 2~", "sk-1 2~\r", " sk-1 2~\r\n"])
def test_the_key_is_sent_without_what_a_file_left_around_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with HttpServer(ADDRESS) as server:
        assert [headers["authorization"] for headers in sent(server)] == ["Bearer sk-1 2~"] * 2


@pytest.mark.parametrize("key", ["", None])
def test_no_key_is_sent_where_there_is_none(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key) if key is not None else monkeypatch.delenv("OLLAMA_API_KEY", False)
    with HttpServer(ADDRESS) as server:
        assert ["authorization" in headers for headers in sent(server)] == [False, False]


@pytest.mark.row("R6.1")
@pytest.mark.parametrize("key", ["sk-secret\rsecret", "sk-secret-ключ", "sk-\x1bsecret", "sk-secret\udcff", "\r\n"])
@pytest.mark.parametrize("kind", [Connection, HttpServer])
def test_what_is_no_key_is_refused_without_being_shown(
    kind: type[Connection], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with pytest.raises(ServerError) as failure:
        kind(ADDRESS)
    assert str(failure.value) == (
        "error: OLLAMA_API_KEY: is no key: it is blank, or holds something other than printable ASCII\n"
        "hint: set it to the key alone, or unset it, then `dvc repro`"
    )
    assert "secret" not in "".join(traceback.format_exception(failure.value))


def test_no_compressed_reply_is_asked_for() -> None:
    with HttpServer(ADDRESS) as server:
        assert [headers["accept-encoding"] for headers in sent(server)] == ["identity"] * 2


MESSAGES = [{"role": "user", "content": '{"stream":true}'}]
MODEL = Model("a", "1" * 64, {}, thinks=False)


@pytest.mark.parametrize(
    ("path", "body", "in_lines"),
    [
        ("/api/create", {"model": "a", "stream": True}, True),
        ("/prefix/api/chat", MODEL.request(MESSAGES, stream=True), True),
        ("/api/chat", MODEL.request(MESSAGES, stream=False), False),
        ("/api/show", {"model": "a", "stream": True}, False),
    ],
)
def test_only_a_reply_that_was_asked_for_in_lines_may_take_as_long_as_one(
    path: str, body: dict[str, object], in_lines: bool
) -> None:
    assert connection._in_lines(httpx.Request("POST", f"http://127.0.0.1:9{path}", json=body)) is in_lines
