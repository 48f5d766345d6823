"""The teacher: a model in an Ollama server that answers conversations."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from ollamake.asking.answers import Answer, Refusal
from ollamake.asking.model import Model
from ollamake.asking.role import TEACHER
from ollamake.asking.server import REPLY_SECONDS, ModelServer
from ollamake.chat import Message
from ollamake.ollama import refusals
from ollamake.ollama.connection import RefusedError, as_text
from ollamake.ollama.retry import InterruptedRequestError

# A token is at most a line of the stream; room for what a server may send beside them.
LINES_PER_TOKEN = 4
UNFIT = "a prompt that does not fit into teacher_num_ctx"


class TeacherServer(ModelServer):
    """The server that the teacher is in. Every method raises ServerError when there is nothing to be had from it."""

    role = TEACHER

    def answer(self, teacher: Model, messages: Sequence[Message], version: str) -> Answer | Refusal:
        """Return the teacher's answer to a conversation, or why there is none for this one."""
        max_lines = LINES_PER_TOKEN * (int(teacher.options["num_predict"]) + 16)

        def ask() -> Answer | Refusal:
            try:
                # Streamed, for only a stream tells a long answer from a server that hangs, and its end from a break.
                with self._http.stream("POST", "/api/chat", json=teacher.request(messages, stream=True)) as response:
                    return _read(_pieces(response), max_lines, version)
            except RefusedError as error:
                if _about_the_prompt(error):
                    return _refusal(error)
                raise

        return self._ask(f"get an answer of {teacher.name}", ask, REPLY_SECONDS)


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
        texts.append(as_text(last["message"]["content"]))
        if number >= max_lines:
            raise InterruptedRequestError("an answer without an end")
    if not last.get("done"):
        raise InterruptedRequestError("the stream ended before the answer did")
    return Answer.read("".join(texts), last, version)


def _about_the_prompt(error: RefusedError) -> bool:
    """Tell whether the server refuses this prompt, and not whoever asks, the model or the options."""
    if known := refusals.recognize(error.message):
        return known.pattern == refusals.TOO_LONG
    return 400 <= error.status < 500 and error.status not in refusals.BY_STATUS


def _refusal(error: RefusedError) -> Refusal:
    known = refusals.recognize(error.message)
    return Refusal(UNFIT if known else f"refused by the server (HTTP {error.status})", error.message)
