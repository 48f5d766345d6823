"""A model in an Ollama server that is asked many questions."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ollamake.chat import Message
from ollamake.ollama.names import listed_name

Options = dict[str, int | float]


@dataclass(frozen=True)
class Model:
    """What decides a reply beside the question: the model, by its digest, and how it is asked.

    `form` is the JSON schema that replies follow, if they have to.
    """

    name: str
    digest: str
    options: Options
    thinks: bool  # a model that can think aloud is told not to
    form: dict[str, Any] | None = None

    @property
    def full_name(self) -> str:
        """The name as the server lists it."""
        return listed_name(self.name)

    @property
    def key(self) -> str:
        """The name of the folder of its replies: 16 hex digits. A tag of another name is the same model."""
        return hashlib.sha256(json.dumps(self._decisive, sort_keys=True).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return what is known of the model, for the folder of its replies."""
        return {"name": self.name, **self._decisive}

    def request(self, messages: Sequence[Message], *, stream: bool) -> dict[str, Any]:
        """Return the body of a request for a reply."""
        body: dict[str, Any] = {"model": self.name, "messages": list(messages), "options": self.options}
        # A question that does not fit is an error here, not a shorter question.
        body |= {"truncate": False, "shift": False, "stream": stream}
        if self.form:
            body["format"] = self.form
        return {**body, "think": False} if self.thinks else body

    @property
    def _decisive(self) -> dict[str, Any]:
        how = {"digest": self.digest, "options": self.options, "thinks": self.thinks}
        return {**how, "format": self.form} if self.form else how
