"""The seam to Ollama: what export asks of a server, whoever answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ollamake.ollama.modelfile import Modelfile
from ollamake.ollama.served import Message


@dataclass(frozen=True)
class Token:
    """A generated token: its bytes, and the likeliest tokens at its place with their log probabilities."""

    text: bytes
    likeliest: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Answer:
    """A greedy answer, with the number of tokens of its prompt and the reason it ended: `stop` or `length`."""

    text: str
    tokens: tuple[Token, ...]
    prompt_tokens: int
    done_reason: str


class Server(Protocol):
    """An Ollama server. Every method raises ServerError when the server refuses, breaks off or cannot be reached."""

    url: str

    def version(self) -> str:
        """Return the server's version, such as `0.33.0`."""

    def digests(self) -> dict[str, str]:
        """Return the digest of every tag by its full name."""

    def digest(self, model: str) -> str | None:
        """Return the digest of a tag, 64 hex digits; None when the server has no such tag."""

    def has_blob(self, sha256: str) -> bool:
        """Tell whether the server holds a file of these bytes."""

    def upload(self, path: Path, sha256: str) -> None:
        """Send a file, streamed from disk, unless the server holds it."""

    def create(self, model: str, gguf_sha256: str, modelfile: Modelfile) -> None:
        """Make a tag of an uploaded GGUF. Raises MissingBlobError when the server has lost it meanwhile."""

    def show(self, model: str) -> dict[str, Any]:
        """Return what /api/show says of a tag."""

    def render(self, model: str, messages: Sequence[Message]) -> str:
        """Return the prompt that the server would give the model."""

    def answer(self, model: str, messages: Sequence[Message], max_new_tokens: int) -> Answer:
        """Return the greedy answer, whatever sampling the tag is set to."""

    def copy(self, source: str, destination: str) -> None:
        """Give a tag a second name, replacing what has that name."""

    def delete(self, model: str) -> None:
        """Remove a tag, if it is there."""
