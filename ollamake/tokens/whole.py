"""From a conversation to rows in which every token carries loss, as in a text (continued pre-training)."""

from dataclasses import dataclass, replace

from ollamake.chat import Message
from ollamake.tokens.encode import Encoder, question
from ollamake.tokens.row import Row, UnencodableError
from ollamake.tokens.text import consecutive_rows
from ollamake.tokens.vocabulary import Tokens


@dataclass(frozen=True)
class WholeEncoder(Encoder):
    """Turns conversations into rows as the template writes them; what is too long goes on in the next row."""

    def _rows(self, messages: list[Message], tokens: Tokens) -> list[Row | str]:
        try:
            self._refuse_control_tokens(messages, tokens)
        except UnencodableError as reason:
            return [str(reason)]
        first, *more = consecutive_rows(tokens.ids, self.max_length, self.vocabulary.tokenizer)
        return [first, *more] if more else [self._asking(messages, tokens, first)]

    def _asking(self, messages: list[Message], tokens: Tokens, row: Row) -> Row:
        """Return the row with the prompt of its last answer, so that it can be scored as a conversation is."""
        try:
            start = self._length(tokens, self._text(messages[:-1], generation=True))
        except UnencodableError:  # nothing to learn is lost by it
            return row
        return replace(row, prompt_length=start, prompt=question(messages), reference=messages[-1]["content"])
