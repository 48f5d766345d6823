"""From judged answers to rows: two answers to one prompt of which one is better, or one answer with a thumb."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ollamake.chat import Message, with_system
from ollamake.tokens.cut import cut_answer, up_to_end, without_oldest_turns
from ollamake.tokens.encode import Encoder
from ollamake.tokens.row import LONG, SAME, Row, UnencodableError
from ollamake.tokens.vocabulary import Tokens

# One conversation for each answer, the chosen one first; they differ in the last message alone.
Rivals = list[list[Message]]


@dataclass(frozen=True)
class JudgedEncoder(Encoder):
    """Turns records with `rejected` or `desirable` into rows that end with the end token of the last answer.

    Only this answer carries loss: it is what was judged. Of two answers both obey the rules for one, and the longer one
    decides what must go.
    """

    def encode_judged(self, records: Sequence[Mapping[str, Any]]) -> Iterator[list[Row | str]]:
        """Yield the row of each record, or the reason why there is none. Raises BaseModelError as `encode` does."""
        rivals = [self._rivals(record) for record in records]
        texts = [[self._text_or_reason(messages) for messages in conversations] for conversations in rivals]
        written = [text for some in texts for text in some if isinstance(text, str)]
        tokens = dict(zip(written, self.vocabulary.encode(written), strict=True))
        for record, conversations, some in zip(records, rivals, texts, strict=True):
            try:
                row = self._row(conversations, [tokens[_readable(text)] for text in some])
            except UnencodableError as reason:
                yield [str(reason)]
            else:
                yield [replace(row, desirable=record.get("desirable"))]

    def _rivals(self, record: Mapping[str, Any]) -> Rivals:
        messages = with_system(record["messages"], self.system_prompt)
        if "rejected" not in record:
            return [messages]
        return [messages, [*messages[:-1], {"role": "assistant", "content": record["rejected"]}]]

    def _row(self, conversations: Rivals, tokens: list[Tokens]) -> Row:
        chosen, *rejected = map(up_to_end, self._fitting(conversations, tokens))
        if not rejected:
            return chosen
        [worse] = rejected
        if chosen.input_ids == worse.input_ids:
            raise UnencodableError(SAME)
        worse_ids = worse.input_ids[worse.prompt_length :]
        return replace(chosen, rejected_ids=worse_ids, truncated=chosen.truncated or worse.truncated)

    def _fitting(self, conversations: Rivals, tokens: list[Tokens]) -> list[Row]:
        """Return a row for each conversation, made to fit by the policy, all with the same prompt."""
        rows = self._last_answers(conversations, tokens)
        if all(len(row.input_ids) <= self.max_length for row in rows):
            return rows
        if self.too_long == "truncate_right":
            return [cut_answer(row, self.max_length, self.vocabulary.tokenizer) for row in rows]
        if self.too_long == "drop":
            raise UnencodableError(LONG)
        shorter = list(zip(*map(without_oldest_turns, conversations), strict=True))
        fitting = bisect_left(shorter, x=True, key=lambda some: all(map(self._fits, some)))
        if fitting == len(shorter):
            raise UnencodableError(LONG)
        tokens = self.vocabulary.encode([self._text(messages) for messages in shorter[fitting]])
        return [replace(row, truncated=True) for row in self._last_answers(shorter[fitting], tokens)]

    def _last_answers(self, conversations: Sequence[list[Message]], tokens: list[Tokens]) -> list[Row]:
        return [
            self._masked(messages, its_tokens, [len(messages) - 1])
            for messages, its_tokens in zip(conversations, tokens, strict=True)
        ]


def _readable(text: str | UnencodableError) -> str:
    if isinstance(text, UnencodableError):
        raise text
    return text
