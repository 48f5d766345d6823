"""The server that export speaks to: the `ollama` client where it has the call, httpx for the calls that it lacks."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import ollama

from ollamake.errors import ServerError
from ollamake.ollama import refusals
from ollamake.ollama.address import Address
from ollamake.ollama.connection import TIMEOUT, Connection, RefusedError, as_text, check, headers
from ollamake.ollama.modelfile import Modelfile
from ollamake.ollama.served import Message
from ollamake.ollama.server import Answer, Token

UPLOAD_SECONDS = 6 * 3600.0  # a large file may break off late, and is still worth another try
# The likeliest token each time, whatever the tag is set to; no penalty, as in the embedded runtime.
GREEDY = {"temperature": 0.0, "seed": 0, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
LIKELIEST = 20  # the most that Ollama gives


class HttpServer(Connection):
    """Implements `Server`."""

    def __init__(self, address: Address, *, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(address, sleep=sleep)
        self._ollama = ollama.Client(
            address.url,
            follow_redirects=False,
            timeout=TIMEOUT,
            trust_env=False,
            event_hooks={"response": [check]},
            headers=headers(),
        )

    def __exit__(self, *_: object) -> None:
        self._ollama.close()  # type: ignore[no-untyped-call]
        super().__exit__()

    def has_blob(self, sha256: str) -> bool:
        """See `Server`."""
        return self._ask("look for the GGUF", lambda: self._holds(sha256))

    def upload(self, path: Path, sha256: str) -> None:
        """See `Server`."""

        def send() -> None:
            # A file that the server has is answered before the body is read: asking first keeps that from looking
            # like a broken connection, and a try whose answer was lost from being sent twice.
            if not self._holds(sha256):
                with path.open("rb") as stream:
                    self._http.post(f"/api/blobs/sha256:{sha256}", content=stream)

        self._ask(f"upload {path.name}", send, UPLOAD_SECONDS)

    def create(self, model: str, gguf_sha256: str, modelfile: Modelfile) -> None:
        """See `Server`."""

        def build() -> str | None:
            status = None
            steps = self._ollama.create(
                model,
                files={Path(modelfile.gguf).name: f"sha256:{gguf_sha256}"},
                template=modelfile.template,
                system=modelfile.system or None,
                license=modelfile.license or None,
                parameters=modelfile.parameters,
                stream=True,
            )
            try:
                for step in steps:
                    status = step.status
            except ollama.ResponseError as error:  # a line inside a stream that began well
                raise RefusedError(httpx.codes.OK, str(error.error)) from error
            return status

        last = self._ask(f"create {model}", build)
        if last != "success":
            raise ServerError(
                f"cannot create {model}: the server stopped without an error and without success; its last word was "
                f"{last!r}",
                where=self.url,
                hint=refusals.LOG,
            )

    def render(self, model: str, messages: Sequence[Message]) -> str:
        """See `Server`."""
        body = {"model": model, "messages": list(messages), "stream": False, "_debug_render_only": True}
        return self._post(
            "render a prompt of", "/api/chat", body, lambda r: as_text(r["_debug_info"]["rendered_template"])
        )

    def answer(self, model: str, messages: Sequence[Message], max_new_tokens: int) -> Answer:
        """See `Server`."""
        body = {
            "model": model,
            "messages": list(messages),
            "stream": False,
            "truncate": False,  # a prompt that does not fit is an error here, not a shorter prompt
            "shift": False,
            "logprobs": True,
            "top_logprobs": LIKELIEST,
            "options": {**GREEDY, "num_predict": max_new_tokens},
        }
        answer = self._post("get an answer of", "/api/chat", body, _answer)
        if answer is None:
            raise ServerError(
                f"{model} began an answer and did not end it: Ollama gives up after 30 equal tokens in a row",
                where=self.url,
                hint="`ollama run` shows what it says; models/samples.md shows whether it does so since training",
            )
        return answer

    def copy(self, source: str, destination: str) -> None:
        """See `Server`."""
        self._ask(f"copy {source} to {destination}", lambda: self._ollama.copy(source, destination))

    def delete(self, model: str) -> None:
        """See `Server`."""

        def remove() -> None:
            try:
                self._ollama.delete(model)
            except RefusedError as error:
                if error.status != httpx.codes.NOT_FOUND:  # gone already: by a try whose answer was lost, maybe
                    raise

        self._ask(f"delete {model}", remove)

    def _holds(self, sha256: str) -> bool:
        try:
            self._http.head(f"/api/blobs/sha256:{sha256}")
        except RefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True


def _answer(reply: dict[str, Any]) -> Answer | None:
    """Read an answer; None for one without an end."""
    if reply["done"] is False:
        return None
    tokens = tuple(
        Token(
            _bytes(token), tuple((_bytes(other), float(other["logprob"])) for other in token.get("top_logprobs") or ())
        )
        for token in reply.get("logprobs") or ()
    )
    return Answer(as_text(reply["message"]["content"]), tokens, reply["prompt_eval_count"], reply["done_reason"])


def _bytes(token: dict[str, Any]) -> bytes:
    # Half a character has no text of its own, so servers send the bytes beside it.
    return bytes([*token["bytes"]]) if token.get("bytes") else str(token["token"]).encode()
