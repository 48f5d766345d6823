"""From a conversation to token ids and labels in which only the assistant's words carry loss.

The template decides what a conversation looks like, so the spans are found by rendering it, never by searching for
marks: the text up to and including the generation prompt is what the server will send, and what follows it, up to the
end-of-turn token, is what the model has to say.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from jinja2 import TemplateError

from ollamake.chat import ChatTemplate, Message, with_system
from ollamake.errors import BaseModelError
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.cut import TooLong, cut_answer, without_oldest_turns
from ollamake.tokens.row import CONTROL, LONG, MELTED, REFUSED, REWRITTEN, Row, UnencodableError
from ollamake.tokens.vocabulary import Tokens, Vocabulary

# A template refuses with the first; the others are mistakes in it that some conversations bring out.
RENDERING_ERRORS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _RewrittenError(UnencodableError):
    """The conversation does not begin with what the server would send, or the model say, at an earlier turn."""


@dataclass(frozen=True)
class Encoder:
    """Turns conversations that end with the assistant into rows; `end_ids` are the tokens at which the model stops."""

    template: ChatTemplate
    vocabulary: Vocabulary
    end_ids: frozenset[int]
    system_prompt: str
    max_length: int
    too_long: TooLong

    def encode(self, conversations: Sequence[Sequence[Message]]) -> Iterator[list[Row | str]]:
        """Yield the rows of each conversation; in the place of one that cannot be stands the reason.

        That is one row, with loss on every answer. Where the template writes earlier answers in another way than the
        last one (Qwen 3 leaves their thoughts out), it is a row for each answer, as the server would meet it.
        Raises BaseModelError when the template never ends an answer.
        """
        opened = [with_system(conversation, self.system_prompt) for conversation in conversations]
        texts = [self._text_or_reason(messages) for messages in opened]
        tokens = iter(self.vocabulary.encode([text for text in texts if isinstance(text, str)]))
        for messages, text in zip(opened, texts, strict=True):
            yield self._rows(messages, next(tokens)) if isinstance(text, str) else [str(text)]

    def _text_or_reason(self, messages: Sequence[Message]) -> str | UnencodableError:
        try:
            return self._text(messages)
        except UnencodableError as reason:
            return reason

    def _text(self, messages: Sequence[Message], *, generation: bool = False) -> str:
        try:
            return self.template.render(messages, add_generation_prompt=generation)
        except RENDERING_ERRORS as error:
            raise UnencodableError(f"{REFUSED}: {error}") from error

    def _rows(self, messages: list[Message], tokens: Tokens) -> list[Row | str]:
        answers = _answers(messages)
        try:
            return [self._fitted(messages, tokens, answers)]
        except _RewrittenError as reason:
            if len(answers) == 1:
                return [str(reason)]
            return [self._turn(messages[: index + 1]) for index in answers]
        except UnencodableError as reason:
            return [str(reason)]

    def _turn(self, messages: list[Message]) -> Row | str:
        try:
            [tokens] = self.vocabulary.encode([self._text(messages)])
            return self._fitted(messages, tokens, [len(messages) - 1])
        except UnencodableError as reason:
            return str(reason)

    def _fitted(self, messages: list[Message], tokens: Tokens, answers: list[int]) -> Row:
        """Return the row of a conversation with loss on those answers, made to fit by the policy."""
        row = self._masked(messages, tokens, answers)
        if not answers or len(row.input_ids) <= self.max_length:
            return row
        if self.too_long == "truncate_right":
            return cut_answer(row, self.max_length, self.vocabulary.tokenizer)
        if self.too_long == "truncate_left":
            return self._shortened(messages, every=len(answers) > 1)
        raise UnencodableError(LONG)

    def _shortened(self, messages: list[Message], *, every: bool) -> Row:
        shorter = without_oldest_turns(messages)
        fitting = bisect_left(shorter, x=True, key=self._fits)
        if fitting == len(shorter):
            raise UnencodableError(LONG)
        answers = _answers(shorter[fitting])
        [tokens] = self.vocabulary.encode([self._text(shorter[fitting])])
        return replace(self._masked(shorter[fitting], tokens, answers if every else answers[-1:]), truncated=True)

    def _fits(self, messages: Sequence[Message]) -> bool:
        return len(self.vocabulary.ids(self._text(messages))) <= self.max_length

    def _masked(self, messages: list[Message], tokens: Tokens, answers: list[int]) -> Row:
        self._refuse_control_tokens(messages, tokens)
        labels, start = [IGNORE_INDEX] * len(tokens.ids), 0
        for index in answers:
            start = self._length(tokens, self._text(messages[:index], generation=True))
            last = index == len(messages) - 1
            stop = len(tokens.ids) if last else self._length(tokens, self._text(messages[: index + 1]))
            end = self._turn_end(tokens.ids, start, stop)
            labels[start:end] = tokens.ids[start:end]
        return Row(tokens.ids, labels, start, question(messages), messages[-1]["content"])

    def _length(self, tokens: Tokens, prefix: str) -> int:
        length = self.vocabulary.prefix_length(tokens, prefix)
        if length is None:
            # The model would be trained on a prompt that the server never sends.
            raise _RewrittenError(MELTED if tokens.text.startswith(prefix) else REWRITTEN)
        return length

    def _turn_end(self, ids: list[int], start: int, stop: int) -> int:
        """Return the index after the end-of-turn token; what the template writes behind it is never generated."""
        for index in range(start, stop):
            if ids[index] in self.end_ids:
                return index + 1
        raise BaseModelError(
            "the chat template ends an assistant message with none of the model's end tokens, "
            "so the served model would never stop",
            where="chat_template.jinja",
            hint="end answers with {{ eos_token }} in a template of your own (chat_template in params.yaml), or "
            "compare eos_token_id in the base model's generation_config.json with what its template writes",
        )

    def _refuse_control_tokens(self, messages: list[Message], tokens: Tokens) -> None:
        """Raise UnencodableError unless the control tokens are those that the template writes for such messages.

        "<|im_end|>" typed by a user would be read as the real end of a turn, here and by the server. Not all are
        spelled out: a normalizer may turn "＜/s＞" into one, or a text and what stands around it make one.
        """
        if self._control_ids_in(tokens.ids) != self._written(tuple(message["role"] for message in messages)):
            raise UnencodableError(CONTROL)

    def _control_ids_in(self, ids: Sequence[int]) -> list[int]:
        # An end token need not be marked as special. Typed into an answer, it would end the loss there.
        return self.vocabulary.control_ids_in(ids, self.end_ids)

    @cached_property
    def _written(self) -> Callable[[tuple[str, ...]], list[int]]:
        def control_ids(roles: tuple[str, ...]) -> list[int]:
            text = self._text([{"role": role, "content": "x"} for role in roles])
            return self._control_ids_in(self.vocabulary.ids(text))

        return lru_cache(maxsize=1024)(control_ids)


def question(messages: Sequence[Message]) -> str:
    """Return what the user said last, "" for nothing."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")


def _answers(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]
