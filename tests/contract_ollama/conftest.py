"""The server under contract, and a model to send to it."""

import contextlib
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.served import ServedModel
from tests.contract_ollama.real import WHY_NONE, real_server
from tests.contract_ollama.workspace import convert, read_model
from tests.standin import StandIn, running

# Before and after llama-server took the models over, and after adapters went (reference/ollama.md §0).
OLD, NEW, NEWEST = "0.24.0", "0.33.0", "0.34.1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hold the contract against every server; a test that orders failures or looks inside takes one stand-in."""
    if "server" in metafunc.fixturenames:
        real = [] if WHY_NONE else [pytest.param("real", marks=pytest.mark.ollama)]
        every = [OLD, pytest.param(NEW, marks=pytest.mark.nightly), NEWEST, *real]
        servers = [NEW] if "standin" in metafunc.fixturenames else every
        metafunc.parametrize("server", servers, indirect=True, ids=lambda version: f"ollama {version}")


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models/gguf folder. Do not write to it."""
    folder = tmp_path_factory.mktemp("workspace") / "models/gguf"
    convert(folder)
    return folder


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in of its own for each test."""
    with running(tmp_path / "server", version=NEW) as server:
        yield server


@pytest.fixture(scope="session")
def real_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real server."""
    with real_server(tmp_path_factory.mktemp("ollama")) as url:
        yield url


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HttpServer]:
    """The server under contract, without pauses between tries."""
    with contextlib.ExitStack() as stack:
        if request.param == "real":
            url = request.getfixturevalue("real_url")
        elif "standin" in request.fixturenames:
            url = request.getfixturevalue("standin").url
        else:
            url = stack.enter_context(running(tmp_path / "server", version=request.param)).url
        yield stack.enter_context(HttpServer(parse_address(url), sleep=lambda _: None))


@pytest.fixture
def model(converted: Path, server: HttpServer) -> Iterator[ServedModel]:
    """The tiny model under a name that nobody else has; removed from the server afterwards."""
    model = read_model(converted, f"ollamake-{secrets.token_hex(4)}/tiny")
    yield model
    for name in server.digests():  # candidates of models that a test changed are there, too
        if name.startswith(model.name):
            server.delete(name)


@pytest.fixture
def raw_reply() -> Iterator[tuple[list[bytes], int]]:
    """A socket that sends the given bytes to whoever connects, and its port."""
    reply: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(ConnectionError):  # the client hangs up when it has seen enough
                    _read_request(connection)
                    for block in reply:
                        connection.sendall(block)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield reply, listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def _read_request(connection: socket.socket) -> None:
    """Read all of it: closed with bytes unread, the connection would be reset before the reply is seen."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    left = int(length[1]) - len(body) if length else 0
    while left > 0 and (more := connection.recv(65536)):
        left -= len(more)
