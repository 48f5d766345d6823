"""An Ollama server over HTTP: the `ollama` client where it has the call, httpx for the calls that it lacks."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import ollama

from ollamake.errors import ServerError
from ollamake.ollama import refusals
from ollamake.ollama.address import Address
from ollamake.ollama.bounded_stream import BoundedStream
from ollamake.ollama.modelfile import Modelfile
from ollamake.ollama.retry import MAX_SECONDS, InterruptedRequestError, patiently
from ollamake.ollama.served import Message
from ollamake.ollama.server import Answer, Token

Result = TypeVar("Result")

# A server may be silent for minutes while it hashes a large GGUF or loads it; the client's own default is for ever.
TIMEOUT = httpx.Timeout(600, connect=5, write=60)
VERSION_TIMEOUT = httpx.Timeout(10, connect=5)
UPLOAD_SECONDS = 6 * 3600.0  # a large file may break off late, and is still worth another try
# The likeliest token each time, whatever the tag is set to; no penalty, as in the embedded runtime.
GREEDY = {"temperature": 0.0, "seed": 0, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
LIKELIEST = 20  # the most that Ollama gives


class HttpServer:
    """Implements `Server`. Follows no redirects and uses no proxy: requests go where the socket probe went."""

    def __init__(self, address: Address, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = address.url
        self._sleep = sleep
        hooks = {"response": [_check]}
        self._ollama = ollama.Client(
            address.url, follow_redirects=False, timeout=TIMEOUT, trust_env=False, event_hooks=hooks
        )
        key = os.environ.get("OLLAMA_API_KEY")  # the `ollama` client reads it, too
        self._http = httpx.Client(
            base_url=address.url,
            timeout=TIMEOUT,
            trust_env=False,
            event_hooks=hooks,
            headers={"authorization": f"Bearer {key}"} if key else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ollama.close()  # type: ignore[no-untyped-call]
        self._http.close()

    def version(self) -> str:
        """See `Server`."""
        return self._ask(
            "ask for the version",
            lambda: str(self._http.get("/api/version", timeout=VERSION_TIMEOUT).json()["version"]),
        )

    def digest(self, model: str) -> str | None:
        """See `Server`."""
        models = self._ask("list the models", self._ollama.list).models
        return next((tag.digest for tag in models if (tag.model or "").lower() == model.lower()), None)

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
            for progress in self._ollama.create(
                model,
                files={Path(modelfile.gguf).name: f"sha256:{gguf_sha256}"},
                template=modelfile.template,
                system=modelfile.system or None,
                license=modelfile.license or None,
                parameters=modelfile.parameters,
                stream=True,
            ):
                status = progress.status
            return status

        last = self._ask(f"create {model}", build)
        if last != "success":
            raise ServerError(
                f"cannot create {model}: the server stopped without an error and without success; its last word was "
                f"{last!r}",
                where=self.url,
                hint=refusals.LOG,
            )

    def show(self, model: str) -> dict[str, Any]:
        """See `Server`."""
        return self._post("show", "/api/show", {"model": model}, dict)

    def render(self, model: str, messages: Sequence[Message]) -> str:
        """See `Server`."""
        body = {"model": model, "messages": list(messages), "stream": False, "_debug_render_only": True}
        return self._post("render a prompt of", "/api/chat", body, lambda r: str(r["_debug_info"]["rendered_template"]))

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
        return self._post("get an answer of", "/api/chat", body, _answer)

    def copy(self, source: str, destination: str) -> None:
        """See `Server`."""
        self._ask(f"copy {source} to {destination}", lambda: self._ollama.copy(source, destination))

    def delete(self, model: str) -> None:
        """See `Server`."""

        def remove() -> None:
            try:
                self._ollama.delete(model)
            except _RefusedError as error:
                if error.status != httpx.codes.NOT_FOUND:  # gone already: by a try whose answer was lost, maybe
                    raise

        self._ask(f"delete {model}", remove)

    def _holds(self, sha256: str) -> bool:
        try:
            self._http.head(f"/api/blobs/sha256:{sha256}")
        except _RefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def _post(self, action: str, path: str, body: dict[str, Any], read: Callable[[Any], Result]) -> Result:
        return self._ask(f"{action} {body['model']}", lambda: read(self._http.post(path, json=body).json()))

    def _ask(self, action: str, request: Callable[[], Result], max_seconds: float = MAX_SECONDS) -> Result:
        """Send a request with patience and turn whatever goes wrong into a ServerError that says what was asked."""
        try:
            return patiently(lambda: _sent(request), max_seconds=max_seconds, sleep=self._sleep)
        except InterruptedRequestError as error:
            raise ServerError(f"cannot {action}: {error}", where=self.url, hint=refusals.LOG) from error
        except _RefusedError as error:
            raise refusals.explain(action, error.message, error.status, self.url) from error
        except ollama.ResponseError as error:  # a line inside a stream that began well
            raise refusals.explain(action, error.error, httpx.codes.OK, self.url) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"cannot {action}: something answers here, but not as Ollama does",
                where=self.url,
                hint="set OLLAMA_HOST to the server's address, then `dvc repro export`",
            ) from error


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _check(response: httpx.Response) -> None:
    """Bound the body of every response, and raise for those that are not a success."""
    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = BoundedStream(response.stream)
    if response.is_success:
        return
    response.read()
    message = _message(response)
    if (response.is_server_error or response.status_code == 429) and refusals.may_pass(message):
        wait, known = response.headers.get("retry-after", ""), refusals.recognize(message)
        meaning = f"{known.meaning}: " if known else ""
        raise InterruptedRequestError(
            f"{meaning}HTTP {response.status_code} {response.reason_phrase}{f': {message[:300]}' if message else ''}",
            float(wait) if wait.isdecimal() else 0.0,
        )
    raise _RefusedError(response.status_code, message)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:300]


def _sent(request: Callable[[], Result]) -> Result:
    try:
        return request()
    except (httpx.TransportError, ConnectionError) as error:
        raise InterruptedRequestError(f"the connection failed ({error or type(error).__name__})") from error


def _answer(reply: dict[str, Any]) -> Answer:
    tokens = tuple(
        Token(_bytes(token), tuple((_bytes(other), other["logprob"]) for other in token.get("top_logprobs") or ()))
        for token in reply.get("logprobs") or ()
    )
    return Answer(reply["message"]["content"], tokens, reply["prompt_eval_count"], reply["done_reason"])


def _bytes(token: dict[str, Any]) -> bytes:
    # Half a character has no text of its own, so servers send the bytes beside it.
    return bytes(token["bytes"]) if token.get("bytes") else str(token["token"]).encode()
