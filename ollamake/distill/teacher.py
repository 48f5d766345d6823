"""The teacher: a model in an Ollama server that answers conversations."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from ollamake.chat import Message
from ollamake.distill.answers import Answer
from ollamake.errors import ServerError
from ollamake.ollama import refusals
from ollamake.ollama.connection import Connection, RefusedError
from ollamake.ollama.names import listed_name
from ollamake.ollama.retry import InterruptedRequestError
from ollamake.ollama.version import require_version

SHOWN_MODELS = 10
# A long answer that breaks off late is still worth another try.
ANSWER_SECONDS = 1800.0
# A token is at most a line of the stream; room for what a server may send beside them.
LINES_PER_TOKEN = 4
UNFIT = "a prompt that does not fit into teacher_num_ctx"


@dataclass(frozen=True)
class Teacher:
    """What decides an answer beside its prompt: the model, by its digest, and how it is asked."""

    name: str
    digest: str
    options: dict[str, int | float]
    thinks: bool  # a model that can think aloud is told not to

    @property
    def full_name(self) -> str:
        """The name as the server lists it."""
        return listed_name(self.name)

    @property
    def key(self) -> str:
        """The name of the folder of its answers: 16 hex digits. A tag of another name is the same teacher."""
        decisive = {key: value for key, value in asdict(self).items() if key != "name"}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def request(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Return the body of a request for an answer."""
        body: dict[str, Any] = {"model": self.name, "messages": list(messages), "options": self.options}
        # A prompt that does not fit is an error here, not a shorter prompt.
        body |= {"truncate": False, "shift": False, "stream": True}
        return {**body, "think": False} if self.thinks else body


@dataclass(frozen=True)
class Refusal:
    """The server does not answer this prompt, others maybe; `said` is its text."""

    reason: str
    said: str


class TeacherServer(Connection):
    """The server that the teacher is in. Every method raises ServerError when there is nothing to be had from it."""

    def find(self, name: str, options: dict[str, int | float]) -> tuple[Teacher, str]:
        """Return the teacher of this name and the server's version. Raises ServerError that names the models there."""
        version = require_version(self)
        digest = self.digest(listed_name(name))
        if digest is None:
            raise self._missing(name)
        shown = self.show(name)
        capabilities = shown.get("capabilities") or ["completion"]  # a server need not say
        if "completion" not in capabilities:
            raise ServerError(
                f"{name} does not answer prompts; it is made for {', '.join(capabilities)}",
                where=self.url,
                hint="name another `teacher` in params.yaml, then `dvc repro`",
            )
        return Teacher(name, digest, {**_neutral(shown), **options}, "thinking" in capabilities), version

    def answer(self, teacher: Teacher, messages: Sequence[Message], version: str) -> Answer | Refusal:
        """Return the teacher's answer to a conversation, or why there is none for this one."""
        max_lines = LINES_PER_TOKEN * (int(teacher.options["num_predict"]) + 16)

        def ask() -> Answer | Refusal:
            try:
                # Streamed, for only a stream tells a long answer from a server that hangs, and its end from a break.
                with self._http.stream("POST", "/api/chat", json=teacher.request(messages)) as response:
                    return _read(_pieces(response), max_lines, version)
            except RefusedError as error:
                if _about_the_prompt(error):
                    return _refusal(error)
                raise

        return self._ask(f"get an answer of {teacher.name}", ask, ANSWER_SECONDS)

    def _missing(self, name: str) -> ServerError:
        names = list(self.digests())
        listed = ", ".join(names[:SHOWN_MODELS]) + (", …" if len(names) > SHOWN_MODELS else "")
        return ServerError(
            f"there is no model {name}; " + (f"there are: {listed}" if listed else "there are none at all"),
            where=self.url,
            hint=f"`ollama pull {name}`, or name another `teacher` in params.yaml; then `dvc repro`",
        )


def _neutral(shown: dict[str, Any]) -> dict[str, int | float]:
    """Return options that depend on the server's version unless they are set; those that the model sets are its own."""
    own = {line.split(maxsplit=1)[0] for line in (shown.get("parameters") or "").splitlines() if line.strip()}
    return {} if "repeat_penalty" in own else {"repeat_penalty": 1.0}


def _pieces(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the objects of the stream. Raises RefusedError or InterruptedRequestError for an error among them."""
    for line in filter(None, _lines(response)):
        piece = json.loads(line)
        if not isinstance(piece, dict):
            raise TypeError(f"not an object: {piece!r:.40}")
        if message := piece.get("error"):
            if refusals.may_pass(message):
                raise InterruptedRequestError(f"the answer broke off: {message[:300]}")
            raise RefusedError(httpx.codes.OK, message)
        yield piece


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """Yield the lines of the body: httpx's own would also end at U+0085 and its like, which answers may hold."""
    rest = b""
    for block in response.iter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _read(pieces: Iterator[dict[str, Any]], max_lines: int, version: str) -> Answer:
    """Read the stream to its end, so that the connection serves again. Raises InterruptedRequestError if it is torn."""
    texts, last = list[str](), dict[str, Any]()
    for number, last in enumerate(pieces):
        texts.append(str(last["message"]["content"]))
        if number >= max_lines:
            raise InterruptedRequestError("an answer without an end")
    if not last.get("done"):
        raise InterruptedRequestError("the stream ended before the answer did")
    # Ollama leaves out what is empty or 0.
    return Answer("".join(texts), str(last.get("done_reason", "")), int(last.get("eval_count", 0)), version)


def _about_the_prompt(error: RefusedError) -> bool:
    """Tell whether the server refuses this prompt, and not whoever asks, the model or the options."""
    if known := refusals.recognize(error.message):
        return known.pattern == refusals.TOO_LONG
    return 400 <= error.status < 500 and error.status not in refusals.BY_STATUS


def _refusal(error: RefusedError) -> Refusal:
    known = refusals.recognize(error.message)
    return Refusal(UNFIT if known else f"refused by the server (HTTP {error.status})", error.message)
