"""What becomes of a conversation that is longer than max_length."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ollamake.chat import Message
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.row import LONG_PROMPT, Row, UnencodableError

TooLong = Literal["drop", "truncate_left", "truncate_right"]


def without_oldest_turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Return the conversation without its oldest turn, its two oldest, and so on; the last turn always stays.

    A turn is a user message with what answers it. A system message stays too.
    """
    system = [message for message in messages[:1] if message["role"] == "system"]
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    return [[*system, *messages[start:]] for start in starts[1:]]


def cut_answer(row: Row, max_length: int) -> Row:
    """Return the row with its last answer cut so that its end-of-turn token is the last of `max_length` tokens.

    Raises UnencodableError when the prompt leaves no room for a token of the answer and its end.
    """
    if row.prompt_length + 2 > max_length:
        raise UnencodableError(LONG_PROMPT)
    # What the template writes behind the end-of-turn token is the first to go.
    end = max(place for place, label in enumerate(row.labels) if label != IGNORE_INDEX)
    stop = min(max_length - 1, end)
    return replace(
        row,
        input_ids=[*row.input_ids[:stop], row.input_ids[end]],
        labels=[*row.labels[:stop], row.labels[end]],
        truncated=True,
    )
