"""What becomes of a conversation that is longer than max_length."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tokenizers import Tokenizer

from ollamake.chat import Message
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.row import LONG_PROMPT, Row, UnencodableError

TooLong = Literal["drop", "truncate_left", "truncate_right"]
REPLACEMENT = "\ufffd"  # what bytes decode to that are no whole character


def without_oldest_turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Return the conversation without its oldest turn, its two oldest, and so on; the last turn always stays.

    A turn is a user message with what answers it. A system message stays too.
    """
    system = [message for message in messages[:1] if message["role"] == "system"]
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    return [[*system, *messages[start:]] for start in starts[1:]]


def cut_answer(row: Row, max_length: int, tokenizer: Tokenizer) -> Row:
    """Return the row with its last answer cut so that its end-of-turn token is the last of at most `max_length` tokens.

    Raises UnencodableError when the prompt leaves no room for the beginning of the answer and its end.
    """
    if len(row.input_ids) <= max_length:
        return row
    # What the template writes behind the end-of-turn token is the first to go.
    end = _end(row)
    stop = _whole_characters(row.input_ids[row.prompt_length : end], max_length - 1 - row.prompt_length, tokenizer)
    if stop < 1:
        raise UnencodableError(LONG_PROMPT)
    stop += row.prompt_length
    return replace(
        row,
        input_ids=[*row.input_ids[:stop], row.input_ids[end]],
        labels=[*row.labels[:stop], row.labels[end]],
        truncated=True,
    )


def up_to_end(row: Row) -> Row:
    """Return the row without what the template writes behind the last end-of-turn token, which carries no loss."""
    stop = _end(row) + 1
    return replace(row, input_ids=row.input_ids[:stop], labels=row.labels[:stop])


def _end(row: Row) -> int:
    return max(place for place, label in enumerate(row.labels) if label != IGNORE_INDEX)


def _whole_characters(ids: list[int], most: int, tokenizer: Tokenizer) -> int:
    """Return how many of the first `most` tokens to take, so that no character of several tokens is cut in two."""
    if most >= len(ids):
        return len(ids)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    while most > 0:
        begin = tokenizer.decode(ids[:most], skip_special_tokens=False)
        if not begin.endswith(REPLACEMENT) or text.startswith(begin):
            break
        most -= 1
    return most
