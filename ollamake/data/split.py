"""Which split a row belongs to, by its content alone: adding or removing rows moves no other row."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from ollamake.data.conversations import Content, Message
from ollamake.data.preferences import Preference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test", "probe")
HASH_BYTES = 8
Prompt = list[tuple[str, str]]


@dataclass(frozen=True)
class Fractions:
    """The shares of the prompts that are held out; the rest is for training."""

    probe: float
    test: float
    val: float


def content_hash(content: Content, preference: Preference) -> bytes:
    """Return 8 bytes that are equal for equal conversations, or texts, of which the same is thought."""
    if isinstance(content, str):
        return _digest(orjson.dumps([("text", content)]))
    said = [(message["role"], message["content"]) for message in content]
    return _digest(orjson.dumps([*said, *preference.items()] if preference else said))


def opening(content: Content) -> Prompt:
    """Return (role, text) of all before the first answer, or of all of a plain text, in the form that is compared.

    What follows is left out, or a conversation and its own beginning, a row of another length, could be on both sides
    of a split. So are case and the amount of white space: two answers to one question, and two spellings of it, belong
    together too.
    """
    if isinstance(content, str):
        return [("text", _folded(content))]
    return [(message["role"], _folded(message["content"])) for message in content[: _opening_length(content)]]


def reply(messages: Sequence[Message], preference: Preference) -> str:
    """Return all that follows the opening, messages apart by a NUL, which none holds, and what is thought of it."""
    said = "\0".join(message["content"] for message in messages[_opening_length(messages) :])
    # No message is empty, so two NULs in a row are none that stand between messages.
    return "\0".join([said, *(f"\0{key}\0{value}" for key, value in preference.items())]) if preference else said


def place_hash(prompt: Prompt, seed: int) -> bytes:
    """Return 8 bytes: the place of a prompt between 0 and 2⁶⁴."""
    return _digest(b"[%d,%b]" % (seed, orjson.dumps(prompt)))


def splits_of(places: "NDArray[np.uint64]", fractions: Fractions) -> "NDArray[np.uint8]":
    """Return for each place an index into SPLITS: probe lies first, then test, then val, then train."""
    import numpy as np

    found = np.zeros(len(places), np.uint8)
    share = places / 2.0**64
    waiting = np.ones(len(places), bool)
    for name, fraction in (("probe", fractions.probe), ("test", fractions.test), ("val", fractions.val)):
        chosen = waiting & (share < fraction)
        found[chosen] = SPLITS.index(name)
        waiting &= ~chosen
        share -= fraction
    return found


def said(prompt: Prompt) -> str:
    """Return what near duplicates are told by: the prompt without its system message, which many rows share."""
    return " ".join(text for role, text in prompt if role != "system")


def _opening_length(messages: Sequence[Message]) -> int:
    return 2 if messages[0]["role"] == "system" else 1


def _folded(text: str) -> str:
    folded = text.casefold()
    # Of all white space, only the blank is printable: most texts need not be taken apart.
    return folded if folded.isprintable() and "  " not in folded else " ".join(folded.split())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:HASH_BYTES]
