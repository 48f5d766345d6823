"""A connection to an Ollama server: bounded replies, patience with passing trouble, refusals in words that help."""

import os
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import httpx

from ollamake.errors import ServerError
from ollamake.ollama import refusals
from ollamake.ollama.address import Address
from ollamake.ollama.bounded_stream import BoundedStream
from ollamake.ollama.retry import MAX_SECONDS, InterruptedRequestError, patiently

Result = TypeVar("Result")

# A server may be silent for minutes while it hashes a large GGUF or loads it; the libraries' own default is for ever.
TIMEOUT = httpx.Timeout(600, connect=5, write=60)
VERSION_TIMEOUT = httpx.Timeout(10, connect=5)


class RefusedError(Exception):
    """A reply that is no success and would come again: its status, and the server's text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Connection:
    """What every use of a server needs. Follows no redirects and uses no proxy: requests go where the probe went."""

    def __init__(self, address: Address, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = address.url
        self._sleep = sleep
        key = os.environ.get("OLLAMA_API_KEY")  # the `ollama` client reads it, too
        self._http = httpx.Client(
            base_url=address.url,
            timeout=TIMEOUT,
            trust_env=False,
            event_hooks={"response": [check]},
            headers={"authorization": f"Bearer {key}"} if key else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def version(self) -> str:
        """Return the server's version, such as `0.33.0`. Raises ServerError, as all methods do."""
        return self._ask(
            "ask for the version",
            lambda: str(self._http.get("/api/version", timeout=VERSION_TIMEOUT).json()["version"]),
        )

    def digests(self) -> dict[str, str]:
        """Return the digest of every tag, 64 hex digits, by its full name, the newest tag first."""
        return self._ask(
            "list the models",
            lambda: {tag["name"]: str(tag["digest"]) for tag in self._http.get("/api/tags").json()["models"]},
        )

    def digest(self, model: str) -> str | None:
        """Return the digest of a tag; None when the server has no such tag. Case does not matter, as in Ollama."""
        return next((digest for name, digest in self.digests().items() if name.lower() == model.lower()), None)

    def show(self, model: str) -> dict[str, Any]:
        """Return what /api/show says of a tag."""
        return self._post("show", "/api/show", {"model": model}, dict)

    def _post(self, action: str, path: str, body: dict[str, Any], read: Callable[[Any], Result]) -> Result:
        return self._ask(f"{action} {body['model']}", lambda: read(self._http.post(path, json=body).json()))

    def _ask(self, action: str, request: Callable[[], Result], max_seconds: float = MAX_SECONDS) -> Result:
        """Send a request with patience and turn whatever goes wrong into a ServerError that says what was asked."""
        try:
            return patiently(lambda: _sent(request), max_seconds=max_seconds, sleep=self._sleep)
        except InterruptedRequestError as error:
            raise ServerError(f"cannot {action}: {error}", where=self.url, hint=refusals.LOG) from error
        except RefusedError as error:
            raise refusals.explain(action, error.message, error.status, self.url) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"cannot {action}: something answers here, but not as Ollama does",
                where=self.url,
                hint=f"set OLLAMA_HOST to the server's address, {refusals.AGAIN}",
            ) from error


def check(response: httpx.Response) -> None:
    """Bound the body of a response. Raises for one that is no success, as what may pass or as what would come again."""
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
    raise RefusedError(response.status_code, message)


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
