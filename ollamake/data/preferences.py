"""What is thought of the last answer of a row: which other answer is worse, or whether its thumb is up."""

from collections.abc import Callable
from typing import Any

from ollamake.data.conversations import Message, Repair, answered, clean_messages
from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import Row

# As a record holds it: {"rejected": text}, {"desirable": bool}, or nothing.
Preference = dict[str, Any]
# Makes one of a row and its messages, which are clean; adds what was repaired.
Judge = Callable[[Row, list[Message], set[Repair]], Preference]
WORDS = {"up": True, "true": True, "1": True, "👍": True, "down": False, "false": False, "0": False, "👎": False}
SHADES = "\ufe0f🏻🏼🏽🏾🏿"  # what may follow the sign of a thumb


def rejected_in(row: Row, messages: list[Message], repairs: set[Repair]) -> Preference:
    """Return the rejected answer, in its normal form. Raises Rejected unless it is another one to the same prompt."""
    given = answered(messages[:-1], row, "rejected")
    try:
        other = clean_messages(given, repairs)
    except Rejected as verdict:
        raise Rejected(f"{verdict.reason} in the rejected answer", verdict.detail) from None
    if other[:-1] != messages[:-1]:
        raise Rejected("rejected answers another prompt")
    if other == messages:
        raise Rejected("the rejected answer is the chosen one")
    return {"rejected": other[-1]["content"]}


def thumb_in(field: str) -> Judge:
    """Return how to read the thumb in a field. That raises Rejected when it is neither up nor down."""

    def judge(row: Row, _messages: list[Message], _repairs: set[Repair]) -> Preference:
        thumb = thumb_of(row[field])
        if thumb is None:
            raise Rejected("a thumb that is neither up nor down", f"{field} is {row[field]!r:.40}")
        return {"desirable": thumb}

    return judge


def thumb_of(value: Any) -> bool | None:
    """Return whether a value is a thumb up or one down, None when it is no thumb."""
    if isinstance(value, bool | int | float):
        return bool(value) if value in (0, 1) else None
    return WORDS.get(value.strip().casefold().rstrip(SHADES)) if isinstance(value, str) else None
