"""A hub on this machine: what the fakes of models and of data sets share."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


def blob_id(content: bytes) -> str:
    """Return the id that git gives to the content of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class HubHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for a fake hub, which knows `asked`, `seconds`, `status` and `error_code`."""

    def __init__(self, fake, *args):
        self.fake = fake
        super().__init__(*args)

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", sent=None, **headers):
        """Send a response with the whole length announced, and the first `sent` bytes of the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        with suppress(ConnectionError):  # the one who asked may be gone
            self.end_headers()
            self.wfile.write(body[:sent] if self.command != "HEAD" else b"")

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.fake.asked.append(f"{self.command} {path}")
        time.sleep(self.fake.seconds)
        if self.fake.status != 200:
            self.answer(self.fake.status, X_Error_Code=self.fake.error_code)
        else:
            self.serve(path)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

    def serve(self, path):
        """Answer a request to a hub that is up."""
        raise NotImplementedError


@contextmanager
def serving(handler: type[HubHandler], fake: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let huggingface_hub reach `fake` in the place of the hub."""
    from huggingface_hub import HfApi, constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, fake))
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.HfApi", partial(HfApi, endpoint=endpoint))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()
