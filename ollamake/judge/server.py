"""The judge: a model in an Ollama server whose replies follow a JSON schema."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ollamake.chat import Message
from ollamake.distill.answers import Answer
from ollamake.errors import ServerError
from ollamake.judge.question import SCHEMA
from ollamake.ollama import refusals
from ollamake.ollama.connection import Connection, RefusedError
from ollamake.ollama.names import listed_name
from ollamake.ollama.version import require_version

SHOWN_MODELS = 10
RULING_SECONDS = 1800.0
UNFIT = "does not fit into judge_num_ctx"


@dataclass(frozen=True)
class Judge:
    """What decides a ruling beside the question: the model, by its digest, and how it is asked."""

    name: str
    digest: str
    options: dict[str, int | float]
    thinks: bool  # a model that can think aloud is told not to: the schema has room for a reason

    @property
    def key(self) -> str:
        """The name of the folder of its rulings: 16 hex digits. A tag of another name is the same judge."""
        decisive = {"digest": self.digest, "options": self.options, "thinks": self.thinks, "format": SCHEMA}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return what is known of the judge, for the folder of its rulings."""
        return {**asdict(self), "format": SCHEMA}

    def request(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Return the body of a request for a ruling."""
        body: dict[str, Any] = {"model": self.name, "messages": list(messages), "options": self.options}
        # A question that does not fit is an error here, not a shorter question.
        body |= {"format": SCHEMA, "truncate": False, "shift": False, "stream": False}
        return {**body, "think": False} if self.thinks else body


class JudgeServer(Connection):
    """The server that the judge is in. Every method raises ServerError when there is nothing to be had from it."""

    def find(self, name: str, options: dict[str, int | float]) -> tuple[Judge, str]:
        """Return the judge of this name and the server's version. Raises ServerError that names the models there."""
        version = require_version(self)
        digest = self.digest(listed_name(name))
        if digest is None:
            raise self._missing(name)
        capabilities = self.show(name).get("capabilities") or ["completion"]  # a server need not say
        if "completion" not in capabilities:
            raise ServerError(
                f"{name} does not answer prompts; it is made for {', '.join(capabilities)}",
                where=self.url,
                hint="name another `judge_model` in params.yaml, then `dvc repro judge`",
            )
        return Judge(name, digest, options, "thinking" in capabilities), version

    def rule(self, judge: Judge, messages: Sequence[Message], version: str) -> Answer:
        """Return the judge's reply; one to a question that is too long for it is empty, with UNFIT as its end."""

        def ask() -> Answer:
            try:
                reply = self._http.post("/api/chat", json=judge.request(messages)).json()
            except RefusedError as error:
                known = refusals.recognize(error.message)
                if known and known.pattern == refusals.TOO_LONG:
                    return Answer("", UNFIT, 0, version)
                raise
            # Ollama leaves out what is empty or 0.
            text, tokens = str(reply["message"]["content"]), int(reply.get("eval_count", 0))
            return Answer(text, str(reply.get("done_reason", "")), tokens, version)

        return self._ask(f"get a ruling of {judge.name}", ask, RULING_SECONDS)

    def _missing(self, name: str) -> ServerError:
        names = list(self.digests())
        listed = ", ".join(names[:SHOWN_MODELS]) + (", …" if len(names) > SHOWN_MODELS else "")
        return ServerError(
            f"there is no model {name}; " + (f"there are: {listed}" if listed else "there are none at all"),
            where=self.url,
            hint=f"`ollama pull {name}`, or name another `judge_model` in params.yaml; then `dvc repro judge`",
        )
