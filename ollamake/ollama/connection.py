"""A connection to an Ollama server: bounded replies, patience with passing trouble, refusals in words that help."""

import os
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import httpx

from ollamake.errors import ServerError
from ollamake.ollama import refusals
from ollamake.ollama.address import Address, is_link_local
from ollamake.ollama.bounded_stream import BoundedStream
from ollamake.ollama.retry import MAX_SECONDS, InterruptedRequestError, patiently

Result = TypeVar("Result")

# A server may be silent for minutes while it hashes a large GGUF or loads it; the libraries' own default is for ever.
TIMEOUT = httpx.Timeout(600, connect=5, write=60)
VERSION_TIMEOUT = httpx.Timeout(10, connect=5)
SHOW_TIMEOUT = httpx.Timeout(60, connect=5)  # for a look into a header, maybe on a slow disk
# The requests that may be answered by a stream of lines.
STREAMS = ("/api/create", "/api/chat")
# What /api/show says that is used, and as what; Ollama leaves out what is empty.
SHOWN = {
    "capabilities": list,
    "details": dict,
    "license": str,
    "model_info": dict,
    "modelfile": str,
    "parameters": str,
    "system": str,
    "template": str,
}
# What reading a reply raises that holds other things than Ollama's, too few, too large ones or too deep in each other.
NOT_OLLAMA = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


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
        self._version = ""
        self._http = httpx.Client(
            base_url=address.url,
            timeout=TIMEOUT,
            trust_env=False,
            event_hooks={"response": [check]},
            headers=headers(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def version(self) -> str:
        """Return the server's version, such as `0.33.0`. Raises ServerError, as all methods do."""
        self._version = self._ask(
            "ask for the version",
            lambda: as_text(self._http.get("/api/version", timeout=VERSION_TIMEOUT).json()["version"]),
        )
        return self._version

    def digests(self) -> dict[str, str]:
        """Return the digest of every tag, 64 hex digits, by its full name, the newest tag first."""
        return self._ask(
            "list the models",
            lambda: {
                as_text(tag["name"]): as_text(tag["digest"]) for tag in self._http.get("/api/tags").json()["models"]
            },
        )

    def digest(self, model: str) -> str | None:
        """Return the digest of a tag; None when the server has no such tag. Case does not matter, as in Ollama."""
        return next((digest for name, digest in self.digests().items() if name.lower() == model.lower()), None)

    def show(self, model: str) -> dict[str, Any]:
        """Return what /api/show says of a tag."""
        body = {"model": model}
        return self._ask(
            f"show {model}", lambda: _shown(self._http.post("/api/show", json=body, timeout=SHOW_TIMEOUT).json())
        )

    def _post(self, action: str, path: str, body: dict[str, Any], read: Callable[[Any], Result]) -> Result:
        return self._ask(f"{action} {body['model']}", lambda: read(self._http.post(path, json=body).json()))

    def _ask(self, action: str, request: Callable[[], Result], max_seconds: float = MAX_SECONDS) -> Result:
        """Send a request with patience and turn whatever goes wrong into a ServerError that says what was asked."""
        try:
            return patiently(lambda: _sent(request), max_seconds=max_seconds, sleep=self._sleep)
        except InterruptedRequestError as error:
            raise ServerError(f"cannot {action}: {error}", where=self.url, hint=refusals.LOG) from error
        except RefusedError as error:
            raise refusals.explain(action, error.message, error.status, self.url, self._version) from error
        except NOT_OLLAMA as error:
            raise ServerError(
                f"cannot {action}: something answers here, but not as Ollama does",
                where=self.url,
                hint=f"set OLLAMA_HOST to the server's address, {refusals.AGAIN}",
            ) from error


def api_key() -> str:
    """Return OLLAMA_API_KEY, empty where it is not set. Raises ServerError for one that no header can carry."""
    given = os.environ.get("OLLAMA_API_KEY", "")
    key = given.strip()  # such as the end of a line of Windows, from a file of settings
    if given and not (key and key.isascii() and key.isprintable()):
        raise ServerError(
            "is no key: it is blank, or holds something other than printable ASCII",
            where="OLLAMA_API_KEY",
            hint=f"set it to the key alone, or unset it, {refusals.AGAIN}",
        )
    return key


def headers() -> dict[str, str]:
    """Return what every request says: the key, if there is one. Raises as `api_key` does."""
    plain = {"accept-encoding": "identity"}  # a compressed reply would be bounded before it grows
    return {**plain, "authorization": f"Bearer {key}"} if (key := api_key()) else plain


def as_text(found: Any) -> str:
    """Return a text of a reply. Raises TypeError for anything else, such as null."""
    if not isinstance(found, str):
        raise TypeError(f"no text: {found!r:.40}")
    return found


def check(response: httpx.Response) -> None:
    """Bound the body of a response. Raises for one that is no success, as what may pass or as what would come again.

    Raises ValueError for a compressed one, and ServerError for one from an address of the link alone.
    """
    _require_no_link_local(response)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("a compressed reply, which nobody asked for")
    response.encoding = "utf-8"  # a charset of the server's choice may be zlib, which Python unpacks without a bound
    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = BoundedStream(response.stream, in_lines=_in_lines(response.request))
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


def _require_no_link_local(response: httpx.Response) -> None:
    """Look at the address that was connected to: a name may lead elsewhere than it did when `why_silent` looked."""
    connection = response.extensions.get("network_stream")
    try:
        host = connection.get_extra_info("server_addr")[0] if connection else ""
    except OSError:  # the server has hung up already
        return
    if is_link_local(host):
        raise ServerError(
            f"this name leads to {host}: such addresses hold the services of clouds and routers, and no Ollama",
            where=response.url.host,
            hint=f"set OLLAMA_HOST to the server's address, {refusals.AGAIN}",
        )


def _in_lines(request: httpx.Request) -> bool:
    """Tell whether the reply was asked for line by line; what the reply calls itself is the server's choice."""
    return request.url.path.endswith(STREAMS) and b'"stream":true' in request.content


def _shown(reply: dict[str, Any]) -> dict[str, Any]:
    """Return what /api/show says. Raises TypeError or AttributeError where that is not what Ollama says."""
    for key, kind in SHOWN.items():
        if not isinstance(reply.get(key, kind()), kind):
            raise TypeError(f"no {kind.__name__}: {key}")
    return reply


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except NOT_OLLAMA:
        return response.text.strip()[:300]


def _sent(request: Callable[[], Result]) -> Result:
    try:
        return request()
    except (httpx.TransportError, ConnectionError) as error:
        raise InterruptedRequestError(f"the connection failed ({error or type(error).__name__})") from error
