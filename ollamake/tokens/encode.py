"""From a conversation to token ids and labels in which only the assistant's words carry loss.

The template decides what a conversation looks like, so the spans are found by rendering it, never by searching for
marks: the text up to and including the generation prompt is what the server will send, and what follows it, up to the
end-of-turn token, is what the model has to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from tokenizers import Tokenizer

from ollamake.chat import ChatTemplate, Message, with_system
from ollamake.errors import BaseModelError
from ollamake.labels import IGNORE_INDEX


@dataclass(frozen=True)
class Encoded:
    """A conversation as the model sees it.

    `input_ids` and `labels` have one entry a token; a label is the token itself where it carries loss, else
    IGNORE_INDEX. `input_ids[:prompt_length]` is the generation prompt of the last assistant message.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int


class UnencodableError(Exception):
    """The conversation cannot become a training row; the message is the reason it is counted under."""


@dataclass(frozen=True)
class Encoder:
    """Turns conversations into rows; `end_ids` are the token ids at which the served model stops."""

    template: ChatTemplate
    tokenizer: Tokenizer
    end_ids: frozenset[int]
    system_prompt: str
    max_length: int

    def encode(self, conversation: Sequence[Message]) -> Encoded:
        """Return the row of a conversation that ends with the assistant. Raises UnencodableError, BaseModelError."""
        messages = with_system(conversation, self.system_prompt)
        self._refuse_control_tokens(messages)
        ids = self._ids(self._render(messages))
        labels = [IGNORE_INDEX] * len(ids)
        prompt_length = 0
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt_length = self._prefix_length(ids, messages[:index], generation=True)
                end = self._turn_end(ids, prompt_length, self._prefix_length(ids, messages[: index + 1]))
                labels[prompt_length:end] = ids[prompt_length:end]
        if len(ids) > self.max_length:
            raise UnencodableError("longer than max_length")
        return Encoded(ids, labels, prompt_length)

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        try:
            return self.template.render(messages, add_generation_prompt=add_generation_prompt)
        except TemplateError as error:
            raise UnencodableError(f"refused by the chat template: {error}") from error

    def _ids(self, text: str) -> list[int]:
        # The template writes the special tokens itself; adding them again would double the BOS.
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _prefix_length(self, ids: list[int], messages: Sequence[Message], *, generation: bool = False) -> int:
        prefix = self._ids(self._render(messages, add_generation_prompt=generation))
        if ids[: len(prefix)] != prefix:
            # The model would be trained on a prompt that the server never sends.
            raise UnencodableError("prompt and answer share a token")
        return len(prefix)

    def _turn_end(self, ids: list[int], start: int, stop: int) -> int:
        """Return the index after the end-of-turn token; what the template writes behind it is never generated."""
        for index in range(start, stop):
            if ids[index] in self.end_ids:
                return index + 1
        raise BaseModelError(
            "the chat template ends an assistant message with none of the model's end tokens, "
            "so the served model would never stop",
            where="chat_template.jinja",
            hint="compare eos_token_id in the model's generation_config.json with what its template writes",
        )

    def _refuse_control_tokens(self, messages: Sequence[Message]) -> None:
        # "<|im_end|>" typed by a user would be read as the real end of a turn.
        special = [token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special]
        if any(token in message["content"] for message in messages for token in special):
            raise UnencodableError("control token in the text")
