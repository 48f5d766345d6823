"""How a failing server is met: what is asked again and how often, what is not, and that nothing is half done.

What is said for each failure stands in known_failures.md.
"""

import gzip
import itertools
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ollamake.errors import ServerError
from ollamake.ollama import bounded_stream, connection
from ollamake.ollama.address import parse_address
from ollamake.ollama.deploy import serve
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.served import ServedModel
from ollamake.ollama.version import MIN_VERSION, require_version
from tests.standin import Fault, StandIn

pytestmark = pytest.mark.usefixtures("standin")
BLOBS, CREATE = "POST /api/blobs/", "POST /api/create"


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "receipt.json"


@pytest.mark.row("R4.2")
@pytest.mark.parametrize(
    "fault",
    [
        Fault(CREATE, times=2, status=503, message="server busy, please try again"),
        Fault("POST /api/chat", times=4, status=500),
        Fault("HEAD /api/blobs/", times=4, status=502),
        Fault(BLOBS, times=1, status=429, headers={"Retry-After": "7"}),
        Fault(BLOBS, times=4, cut=True),
        Fault(CREATE, times=2, cut=True),
        Fault(CREATE, times=2, cut=True, after_lines=2),
        Fault("GET /api/tags", times=3, cut=True),
        Fault("DELETE /api/delete", times=1, status=503),
    ],
    ids=lambda fault: f"{fault.route.split('/')[-1] or 'blobs'}-{fault.status or 'cut'}",
)
def test_passing_trouble_is_waited_out(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path, fault: Fault
) -> None:
    standin.faults.add(fault)
    proved, _ = serve(server, model, receipt)
    assert server.digest(model.name) == proved.tag_digest
    assert fault.times == 0


@pytest.mark.row("R4.3")
@pytest.mark.parametrize("body_share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_an_upload_that_breaks_off_is_sent_again_unless_it_had_arrived(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path, body_share: float
) -> None:
    standin.faults.add(Fault(BLOBS, cut=True, body_share=body_share))
    serve(server, model, receipt)
    assert sum(route.startswith(BLOBS) for route in standin.requests) == (1 if body_share == 1 else 2)


@pytest.mark.nightly
@pytest.mark.row("R4.3")
def test_twenty_uploads_of_twenty_that_break_off_anywhere_arrive_whole(
    standin: StandIn, server: HttpServer, model: ServedModel
) -> None:
    for number in range(20):
        standin.store.forget_unused()
        standin.requests.clear()
        standin.faults.add(Fault(BLOBS, cut=True, body_share=number / 19))
        server.upload(model.gguf, model.serving.sha256)
        assert standin.store.blob(f"sha256:{model.serving.sha256}").read_bytes() == model.gguf.read_bytes()
        posts = [place for place, route in enumerate(standin.requests) if route.startswith(BLOBS)]
        assert len(posts) == (1 if number == 19 else 2)
        assert all(standin.requests[place - 1].startswith("HEAD /api/blobs/") for place in posts)


@pytest.mark.row("R4.2")
def test_trouble_that_does_not_pass_is_given_up_after_five_tries(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    standin.faults.add(Fault(CREATE, times=99, status=503, message="server busy"))
    with pytest.raises(ServerError) as failure:
        serve(server, model, receipt)
    assert str(failure.value) == (
        f"error: {standin.url}: cannot create {model.candidate}: the server has more requests than it takes: "
        "HTTP 503 Service Unavailable: server busy\n"
        "hint: read the log of `ollama serve` (`journalctl --unit ollama`), then `dvc repro`"
    )
    assert standin.requests.count(CREATE) == 5


@pytest.mark.row("R4.2")
def test_a_server_that_does_not_answer_in_time_is_asked_again(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_patient(_: float, seconds=connection.VERSION_TIMEOUT) -> None:
        while not standin.requests:
            time.sleep(0.01)
        monkeypatch.setattr(connection, "VERSION_TIMEOUT", seconds)

    monkeypatch.setattr(connection, "VERSION_TIMEOUT", 0.1)
    standin.faults.add(Fault("GET /api/version", delay_seconds=60))
    with HttpServer(parse_address(standin.url), sleep=be_patient) as server:
        assert server.version() == standin.version
    assert standin.requests == ["GET /api/version"] * 2


@pytest.mark.row("R4.2")
def test_the_pause_that_the_server_asks_for_is_kept(standin: StandIn, model: ServedModel) -> None:
    standin.faults.add(Fault(BLOBS, status=429, headers={"Retry-After": "7"}))
    pauses: list[float] = []
    with HttpServer(parse_address(standin.url), sleep=pauses.append) as server:
        server.upload(model.gguf, model.serving.sha256)
    assert pauses == [7.0]


@pytest.mark.row("R4.2")
def test_a_pause_longer_than_anybody_waits_is_not_begun(standin: StandIn, model: ServedModel) -> None:
    standin.faults.add(Fault("GET /api/tags", status=429, headers={"Retry-After": "3600"}))
    pauses: list[float] = []
    with (
        HttpServer(parse_address(standin.url), sleep=pauses.append) as server,
        pytest.raises(ServerError, match="HTTP 429"),
    ):
        server.digests()
    assert pauses == []


@pytest.mark.row("R4.5")
def test_a_server_that_restarts_between_the_upload_and_the_creation_gets_the_file_again(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    """Two requests meet nobody, the third one a server that has dropped, at its start, what no tag uses."""
    standin.faults.add(Fault(CREATE, times=2, cut=True))
    standin.faults.add(Fault(CREATE, lose_blobs=True))
    proved, _ = serve(server, model, receipt)
    assert server.digest(model.name) == proved.tag_digest
    assert sum(route.startswith(BLOBS) for route in standin.requests) == 2


@pytest.mark.row("R4.5")
def test_a_blob_that_the_server_lost_is_uploaded_again(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    standin.faults.add(Fault(CREATE, lose_blobs=True))
    serve(server, model, receipt)
    assert sum(route.startswith(BLOBS) for route in standin.requests) == 2


def test_a_server_that_keeps_losing_the_blob_is_given_up(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    standin.faults.add(Fault(CREATE, times=2, lose_blobs=True))
    with pytest.raises(ServerError, match="the server lost the uploaded GGUF") as failure:
        serve(server, model, receipt)
    assert failure.value.hint == "try again: `dvc repro`"


def test_a_known_cause_is_not_tried_again_although_it_is_a_server_error(
    standin: StandIn, server: HttpServer, model: ServedModel
) -> None:
    standin.faults.add(Fault(CREATE, times=5, status=500, message="no space left on device"))
    with pytest.raises(ServerError, match="disk is full"):
        server.create(model.name, model.serving.sha256, model.modelfile)
    assert standin.requests.count(CREATE) == 1


CRASHES = [
    'POST predict: Post "http://127.0.0.1:36867/completion": EOF',
    "llama runner process has terminated: exit status 2",
    "model runner has unexpectedly stopped, this may be due to resource limitations",
]


@pytest.mark.parametrize("said", CRASHES)
def test_a_crashed_runner_is_waited_for(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path, said: str
) -> None:
    standin.faults.add(Fault("POST /api/chat", times=4, status=500, message=said))
    serve(server, model, receipt)
    assert standin.faults.strike("POST /api/chat") is None


@pytest.mark.parametrize("said", CRASHES)
def test_a_runner_that_keeps_crashing_is_reported_as_that(
    standin: StandIn, server: HttpServer, model: ServedModel, said: str
) -> None:
    standin.faults.add(Fault("POST /api/chat", times=99, status=500, message=said))
    with pytest.raises(ServerError) as failure:
        server.answer(model.name, [{"role": "user", "content": "hi"}], 1)
    assert failure.value.problem == (
        f"cannot get an answer of {model.name}: the server's own process that runs the model has ended: "
        f"HTTP 500 Internal Server Error: {said}"
    )
    assert "read the log of `ollama serve`" in failure.value.hint
    assert standin.requests.count("POST /api/chat") == 5


@pytest.mark.row("R4.7")
def test_a_stream_that_ends_without_success_is_no_success(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    standin.faults.add(Fault(CREATE, after_lines=3))
    with pytest.raises(ServerError, match=r"without success; its last word was 'verifying conversion'"):
        serve(server, model, receipt)
    assert server.digest(model.name) is None


@pytest.mark.row("R6.5")
def test_a_redirect_is_refused(standin: StandIn, server: HttpServer, model: ServedModel) -> None:
    standin.faults.add(Fault(BLOBS, status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"}))
    with pytest.raises(ServerError, match="sends us elsewhere") as failure:
        server.upload(model.gguf, model.serving.sha256)
    assert failure.value.hint == "set OLLAMA_HOST to the final address"


@pytest.mark.parametrize(("status", "hint"), [(401, "set OLLAMA_API_KEY"), (403, "answers only local names")])
def test_a_closed_door_is_explained(standin: StandIn, server: HttpServer, status: int, hint: str) -> None:
    standin.faults.add(Fault("GET /api/version", status=status))
    with pytest.raises(ServerError) as failure:
        server.version()
    assert hint in failure.value.hint


TOO_OLD = "too old: it takes 0.12.11 or newer\nhint: update Ollama (https://ollama.com/download), then `dvc repro`"
TOO_NEW = (
    "newer than any that is known here: from 0.12.11 up to, but not 2.0.0\n"
    "hint: get a newer ollamake, or let OLLAMA_HOST name a server of such a version, then `dvc repro`"
)


@pytest.mark.row("R4.6")
@pytest.mark.parametrize(
    ("version", "said"),
    [("0.1.32", TOO_OLD), ("0.12.10", TOO_OLD), ("0.5.5-rc1", TOO_OLD), ("2.0.0", TOO_NEW), ("99.1.0", TOO_NEW)],
)
def test_a_server_that_is_too_old_or_newer_than_any_known_is_refused_before_anything_is_sent(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path, version: str, said: str
) -> None:
    standin.version = version
    with pytest.raises(ServerError) as failure:
        serve(server, model, receipt)
    assert str(failure.value) == f"error: {standin.url}: Ollama {version} is {said}"
    assert standin.requests == ["GET /api/version"]
    assert not receipt.exists()


@pytest.mark.row("R4.6")
@pytest.mark.parametrize("version", ["0.12.11", "0.24.0", "0.33.0-rc2", "1.0.0", "1.99.9", "0.0.0"])
def test_other_versions_are_taken(standin: StandIn, server: HttpServer, version: str) -> None:
    standin.version = version
    assert require_version(server) == version


def test_a_version_that_is_none_is_refused(standin: StandIn, server: HttpServer) -> None:
    standin.version = "latest"
    with pytest.raises(ServerError, match="is it Ollama"):
        require_version(server)


@pytest.mark.row("R4.6")
def test_the_oldest_server_that_is_taken_serves_it_too(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    standin.version = ".".join(map(str, MIN_VERSION))
    proved, _ = serve(server, model, receipt)
    assert proved.version == "0.12.11"


@pytest.mark.row("R4.6")
@pytest.mark.parametrize(
    "body",
    [b"<html>a router's page</html>", b"[]", b'{"v": 1}', b"null", b'{"version": 5}', b"[" * 100_000],
    ids=lambda body: body[:40].decode(),
)
def test_something_else_at_the_port_is_recognized(raw_reply: tuple[list[bytes], int], body: bytes) -> None:
    reply, port = raw_reply
    reply.append(whole(body))
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match="not as Ollama does"),
    ):
        server.version()


def whole(body: bytes, header: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """A reply in one piece."""
    end = b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    return b"HTTP/1.1 %s\r\n%s%s" % (status, header, end)


ENDED = '"done": true, "prompt_eval_count": 1, "done_reason": "stop"'
SAID = '{"message": {"content": "yes"}, "logprobs": [%s], ' + ENDED + "}"
WRONG = [
    *(("create", line) for line in ("null", "5", '"text"', '{"status": 5}', '{"error": 5}')),
    *(("create", f'{{"error": "{text}"}}') for text in ("5", "[1]", "null", "[" * 100_000)),
    *(("digest", f'{{"models": [{tag}]}}') for tag in ("null", '{"name": 5, "digest": ""}', '{"name": "a"}')),
    *(("show", f'{{"{key}": null}}') for key in connection.SHOWN),
    *(("show", reply) for reply in ("null", "[]", '{"details": []}', '{"parameters": {}}', '{"capabilities": 5}')),
    *(("answer", f'{{"message": {message}, {ENDED}}}') for message in ("null", "{}", '{"content": null}')),
    *(
        ("answer", SAID % token)
        for token in (
            *("5", '{"token": "a", "bytes": 1000000000000}'),
            *('{"token": "a", "top_logprobs": [{"token": "a", "logprob": null}]}', '{"token": "a", "bytes": [256]}'),
        )
    ),
    ("render", '{"_debug_info": {"rendered_template": null}}'),
]


@pytest.mark.row("R4.7")
@pytest.mark.parametrize(("request_", "body"), WRONG, ids=lambda text: text[:60])
def test_a_reply_that_is_none_of_ollamas_is_recognized_whatever_was_asked(
    raw_reply: tuple[list[bytes], int], model: ServedModel, request_: str, body: str
) -> None:
    reply, port = raw_reply
    reply.append(whole(body.encode()))
    messages = [{"role": "user", "content": "hi"}]
    with HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server:
        ask = {
            "create": lambda: server.create("a", model.serving.sha256, model.modelfile),
            "digest": lambda: server.digest("a"),
            "show": lambda: server.show("a"),
            "answer": lambda: server.answer("a", messages, 1),
            "render": lambda: server.render("a", messages),
        }[request_]
        with pytest.raises(ServerError, match="something answers here, but not as Ollama does"):
            ask()


@pytest.mark.row("R4.7")
def test_an_error_inside_an_error_that_is_no_text_is_an_error_all_the_same(
    raw_reply: tuple[list[bytes], int], model: ServedModel
) -> None:
    reply, port = raw_reply
    reply.append(whole(rb'{"error": "{\"error\": 5}"}'))
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match='Ollama said: "5"'),
    ):
        server.create("a", model.serving.sha256, model.modelfile)


@pytest.mark.row("R4.6")
def test_a_version_of_thousands_of_digits_is_none(raw_reply: tuple[list[bytes], int]) -> None:
    reply, port = raw_reply
    reply.append(whole(b'{"version": "%s.0.0"}' % (b"5" * 5000)))
    with HttpServer(parse_address(f"127.0.0.1:{port}")) as server, pytest.raises(ServerError) as failure:
        require_version(server)
    assert failure.value.problem == f"calls itself version {'5' * 40!r}; is it Ollama?"


@pytest.mark.row("R4.7")
@pytest.mark.parametrize("body", [gzip.compress(b'{"version": "0.33.0"}'), b"no gzip"], ids=["gzip", "no gzip"])
def test_a_compressed_reply_is_refused_since_no_bound_would_hold_what_comes_out_of_it(
    raw_reply: tuple[list[bytes], int], body: bytes
) -> None:
    reply, port = raw_reply
    reply.append(whole(body, b"Content-Encoding: gzip\r\n"))
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match="not as Ollama does"),
    ):
        server.version()


@pytest.mark.row("R4.7")
@pytest.mark.parametrize("charset", ["zlib", "bz2", "undefined"])
def test_a_charset_that_is_none_is_not_followed(raw_reply: tuple[list[bytes], int], charset: str) -> None:
    reply, port = raw_reply
    header = f"Content-Type: text/plain; charset={charset}\r\n".encode()
    reply.append(whole(b"no text", header, b"400 Bad Request"))
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match='Ollama said: "no text"'),
    ):
        server.version()


@pytest.mark.row("R6.5")
def test_a_name_that_leads_to_a_link_local_address_after_all_is_not_listened_to(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "is_link_local", lambda host: host == "127.0.0.1")
    with (
        HttpServer(parse_address(standin.url)) as server,
        pytest.raises(ServerError, match=r"this name leads to 127\.0\.0\.1"),
    ):
        server.version()
    assert standin.requests == ["GET /api/version"]


def chunked(*blocks: bytes) -> list[bytes]:
    """A reply in the blocks of HTTP's chunked encoding, which a client sees one by one."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks), b"0\r\n\r\n"]


@pytest.mark.row("R4.7")
@pytest.mark.parametrize("end", ['{"status":"success"}', '{"error":"voilà – 漢字"}'])
def test_lines_of_a_stream_may_be_torn_anywhere_even_inside_a_character(
    raw_reply: tuple[list[bytes], int], model: ServedModel, end: str
) -> None:
    reply, port = raw_reply
    sent = f'{{"status":"größer – 漢字"}}\n{end}\n'.encode()
    reply += chunked(*(sent[place : place + 1] for place in range(len(sent))))
    with HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server:
        if "error" in end:
            with pytest.raises(ServerError, match="voilà – 漢字"):
                server.create(model.name, model.serving.sha256, model.modelfile)
        else:
            server.create(model.name, model.serving.sha256, model.modelfile)


def test_a_creation_may_take_longer_than_any_other_reply(
    raw_reply: tuple[list[bytes], int], model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(step=50)
    monkeypatch.setattr(bounded_stream, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    reply, port = raw_reply
    reply += chunked(*[b'{"status":"hashing"}\n'] * 9, b'{"status":"success"}\n')
    with HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server:
        server.create(model.name, model.serving.sha256, model.modelfile)
        with pytest.raises(ServerError, match="a reply took more than 120 s to arrive"):
            server.version()


@pytest.mark.row("R4.7")
def test_a_creation_whose_line_never_ends_is_cut_off(
    raw_reply: tuple[list[bytes], int], model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_stream, "MAX_BYTES", 4 << 20)
    reply, port = raw_reply
    reply += chunked(*[b"x" * (1 << 20)] * 6)
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match="a reply of more than 4194304 bytes"),
    ):
        server.create(model.name, model.serving.sha256, model.modelfile)


@pytest.mark.row("R4.7")
def test_an_endless_line_is_cut_off(raw_reply: tuple[list[bytes], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_stream, "MAX_BYTES", 4 << 20)
    reply, port = raw_reply
    reply.append(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\nConnection: close\r\n\r\n")
    reply += [b"x" * (1 << 20)] * 6
    with (
        HttpServer(parse_address(f"127.0.0.1:{port}"), sleep=lambda _: None) as server,
        pytest.raises(ServerError, match="a reply of more than 4194304 bytes"),
    ):
        server.version()


@pytest.mark.row("R4.1")
def test_a_server_that_went_away_is_reported_after_five_tries() -> None:
    pauses: list[float] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        with (
            HttpServer(parse_address(f"127.0.0.1:{closed.getsockname()[1]}"), sleep=pauses.append) as server,
            pytest.raises(ServerError, match=r"cannot list the models: the connection failed"),
        ):
            server.digest("a:b")
    assert len(pauses) == 4
    assert sum(pauses) <= 15
