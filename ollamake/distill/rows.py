"""Prepared rows: what of them the teacher is asked, and what they are with its answer."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ollamake.asking.answers import Answer, Refusal
from ollamake.chat import Message, with_system

Row = dict[str, Any]

EMPTY = "an empty answer"
NO_TEXT = "an answer that is no text"
UNFINISHED = "an answer that did not end"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a prepared file."""
    with path.open("rb") as lines:
        yield from map(json.loads, lines)


def line_of(row: Row) -> bytes:
    """Return the row as prepare writes it."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def prompt_of(row: Row, system_prompt: str) -> list[Message] | None:
    """Return what the last answer answers, as tokenize will have it; None for a plain text.

    A conversation that ends with the user is a prompt as it is.
    """
    if "messages" not in row:
        return None
    return with_system(_asked(row), system_prompt)


def prompt_key(prompt: list[Message]) -> bytes:
    """Return the sha256 of a prompt."""
    return hashlib.sha256(json.dumps([[message["role"], message["content"]] for message in prompt]).encode()).digest()


def with_answer(row: Row, answer: Answer) -> Row:
    """Return the row with another last answer."""
    return {**row, "messages": [*_asked(row), {"role": "assistant", "content": _normal(answer.text)}]}


def fault_of(reply: Answer | Refusal) -> str:
    """Return why nothing can be learnt from a reply; empty when it is a good answer."""
    if isinstance(reply, Refusal):
        return reply.reason
    if reply.done_reason != "stop":
        return UNFINISHED if reply.done_reason == "length" else f"{UNFINISHED} ({reply.done_reason or 'no reason'})"
    try:
        reply.text.encode()
    except UnicodeEncodeError:
        return NO_TEXT
    if "\0" in reply.text:
        return NO_TEXT
    return "" if _normal(reply.text) else EMPTY


def _asked(row: Row) -> list[Message]:
    messages: list[Message] = row["messages"]
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _normal(text: str) -> str:
    """Return the text in the form that prepare brings all texts into."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
