"""The judge: a model in an Ollama server whose replies follow a JSON schema."""

from collections.abc import Sequence

from ollamake.asking.answers import Answer, Refusal
from ollamake.asking.model import Model
from ollamake.asking.role import JUDGE
from ollamake.asking.server import REPLY_SECONDS, ModelServer
from ollamake.chat import Message
from ollamake.judge.question import SCHEMA
from ollamake.ollama import refusals
from ollamake.ollama.connection import RefusedError, as_text

LIKELIEST = {"temperature": 0.0, "repeat_penalty": 1.0}  # the model's own penalty, too, would lead it astray
UNFIT = "does not fit into judge_num_ctx"


class JudgeServer(ModelServer):
    """The server that the judge is in. Every method raises ServerError when there is nothing to be had from it."""

    role, form = JUDGE, SCHEMA

    def rule(self, judge: Model, messages: Sequence[Message], version: str) -> Answer | Refusal:
        """Return the judge's reply, or why there is none to a question that is too long for it."""

        def ask() -> Answer | Refusal:
            try:
                reply = self._http.post("/api/chat", json=judge.request(messages, stream=False)).json()
            except RefusedError as error:
                known = refusals.recognize(error.message)
                if known and known.pattern == refusals.TOO_LONG:
                    return Refusal(UNFIT, error.message)
                raise
            return Answer.read(as_text(reply["message"]["content"]), reply, version)

        return self._ask(f"get a ruling of {judge.name}", ask, REPLY_SECONDS)
