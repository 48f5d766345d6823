"""The HTTP side of the stand-in: requests in, JSON and NDJSON out, errors where Ollama puts them."""

import json
import socketserver
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.standin.creation import Status, create
from tests.standin.engine import Engine
from tests.standin.faults import Fault, Faults
from tests.standin.models import Models
from tests.standin.problem import Problem
from tests.standin.semantics import Semantics
from tests.standin.store import Store

VERSION = "0.33.0"
JSON, STREAM, TEXT = "application/json; charset=utf-8", "application/x-ndjson", "text/plain"


class StandIn(ThreadingHTTPServer):
    """A server on 127.0.0.1, as its `version` behaves.

    `faults` orders failures, `requests` lists the routes that were asked, in order, `creations` what was to be created.
    """

    daemon_threads = True

    def __init__(self, folder: Path, *, port: int = 0, version: str = VERSION) -> None:
        self.version = version
        self.faults, self.requests, self.creations = Faults(), list[str](), list[Status]()
        self.store = Store(folder)
        self.models = Models(self.store, Engine(), lambda: self.semantics)
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, which takes seconds where there is no name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]

    @property
    def semantics(self) -> Semantics:
        """What servers of its version do."""
        return Semantics(self.version)

    @property
    def url(self) -> str:
        """The address for OLLAMA_HOST."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(folder: Path, *, version: str = VERSION) -> Iterator[StandIn]:
    """Serve from a thread while the block runs."""
    server = StandIn(folder, version=version)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.models.engine.unload()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every reply waits 40 ms for the client to acknowledge its headers
    server: StandIn

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the tests' output to themselves."""

    def do_GET(self) -> None:
        """Answer GET."""
        self._answer()

    do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        route = f"{self.command} {self.path}"
        self.server.requests.append(route)
        fault = self.server.faults.strike(route)
        if fault and self._strike(fault):
            return
        try:
            self._dispatch(route, fault)
        except Problem as problem:
            self._send(problem.status, {"error": problem.text})
        except ConnectionError:  # the client has hung up
            self.close_connection = True

    def _strike(self, fault: Fault) -> bool:
        """Carry the fault out; tell whether the request is done with."""
        if fault.lose_blobs:
            self.server.store.forget_unused()
        if fault.status:
            self._body()
            self._send(fault.status, {"error": fault.message} if fault.message else None, headers=fault.headers)
            return True
        if fault.cut and max(fault.after_lines, fault.body_share) < 0:
            self._hang_up()
            return True
        return False

    def _dispatch(self, route: str, fault: Fault | None) -> None:
        models = self.server.models
        method, _, path = route.partition(" ")
        reads = {"/": "Ollama is running", "/api/version": {"version": self.server.version}, "/api/tags": None}
        if path in reads and method in ("GET", "HEAD"):
            self._send(200, models.tags() if path == "/api/tags" else reads[path])
        elif path.startswith("/api/blobs/") and method in ("HEAD", "POST"):
            self._blob(method, path.rpartition("/")[2], fault)
        elif route == "POST /faults":  # the stand-in's own: a test in another process orders a fault
            self.server.faults.add(Fault(**self._json()))
            self._send(200, None)
        elif route == "GET /api/ps":
            self._send(200, models.running())
        elif route in ("POST /api/create", "POST /api/chat", "POST /api/generate"):
            self._stream(path, fault)
        elif route in ("POST /api/show", "POST /api/copy", "DELETE /api/delete", "POST /v1/chat/completions"):
            self._send(200, getattr(models, path.rpartition("/")[2])(self._json()))
        elif path in ("/api/create", "/api/chat", "/api/generate", "/api/show", "/api/copy", "/api/delete", *reads):
            self._send(405, "405 method not allowed")
        else:
            self._send(404, "404 page not found")

    def _blob(self, method: str, digest: str, fault: Fault | None) -> None:
        try:
            path = self.server.store.blob(digest)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        if method == "HEAD" or path.is_file():
            self._send(200 if path.is_file() else 404, None)
            self.close_connection = self.close_connection or method == "POST"  # its body is never read
            return
        if fault and fault.body_share >= 0:
            part = self.rfile.read(round(int(self.headers["Content-Length"]) * fault.body_share))
            if fault.body_share == 1:
                self.server.store.add_blob(part)
            self._hang_up()
            return
        received = self.server.store.add_blob(self._body())
        if received != digest:
            raise Problem(400, f'digest mismatch, expected "{digest}", got "{received}"')
        self._send(201, None)

    def _stream(self, path: str, fault: Fault | None) -> None:
        """Send the events of a creation or an answer: one object, or, when the request wants it so, a line each."""
        request = self._json()
        if path == "/api/create":
            self.server.creations.append(request)
            events = create(self.server.store, request, self.server.semantics)
        else:
            events = getattr(self.server.models, path.rpartition("/")[2])(request)
        first = next(events)  # an error before the first event has a status of its own
        if request.get("stream") is False:
            reply = [first, *events][-1]
            self._send(200, _without_end(reply) if fault and fault.broken_off and reply["done"] else reply)
            return
        self.send_response(200)
        self.send_header("Content-Type", STREAM)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in _with_fault(_with_problem(first, events), fault):
            if line is None:
                self._hang_up()
                return
            text = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self) -> dict[str, Any]:
        body = self._body()
        if not body:
            raise Problem(400, "missing request body")
        try:
            content = json.loads(body)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        assert isinstance(content, dict)
        return content

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = (
            content.encode() if isinstance(content, str) else b"" if content is None else json.dumps(content).encode()
        )
        self.send_response(status)
        self.send_header("Content-Type", TEXT if isinstance(content, str) else JSON)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()


def _without_end(reply: Status) -> Status:
    return {**{key: reply[key] for key in ("model", "created_at", "message") if key in reply}, "done": False}


def _with_problem(first: Status, events: Iterator[Status]) -> Iterator[Status]:
    """Once a line is out, an error is the last line of a stream that began with 200."""
    yield first
    try:
        yield from events
    except Problem as problem:
        yield {"error": problem.text}


def _with_fault(lines: Iterable[Status], fault: Fault | None) -> Iterator[Status | None]:
    """Let the lines through; at the fault's place send its error, or nothing more, or None: the line is cut."""
    for number, line in enumerate(lines):
        if fault and number == fault.after_lines:
            if fault.cut:
                yield None
            elif fault.message:
                yield {"error": fault.message}
            return
        yield line
