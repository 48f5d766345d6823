"""Which split a conversation belongs to, by its content alone: adding or removing rows moves no other row."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.data.conversations import Message

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Fractions:
    """The shares of the prompts that are held out; the rest is for training."""

    probe: float
    test: float
    val: float


def content_hash(messages: Sequence[Message]) -> bytes:
    """Return 16 bytes that are equal for equal conversations."""
    return _hash([[message["role"], message["content"]] for message in messages])


def split_of(messages: Sequence[Message], fractions: Fractions, seed: int) -> str:
    """Return probe, test, val or train, by where the hash of the prompt falls between 0 and 1.

    The prompt is everything before the last answer. Case and the amount of white space are left out of the hash: two
    answers to one question, and two spellings of it, must not be on both sides of a split.
    """
    prompt = [[message["role"], " ".join(message["content"].casefold().split())] for message in messages[:-1]]
    place = int.from_bytes(_hash([seed, prompt])[:8], "big") / 2**64
    for name, share in (("probe", fractions.probe), ("test", fractions.test), ("val", fractions.val)):
        if place < share:
            return name
        place -= share
    return "train"


def _hash(content: list[object]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).digest()[:DIGEST_BYTES]
