"""From a row of any known shape to a conversation: messages in the right order, with text in each."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from ollamake.data.findings import Rejected
from ollamake.data.rows import Row

Message = dict[str, str]
Repair = str
ROLES = ("system", "user", "assistant")
SILENT = {"id", "source", "task", "weight"}  # about the row, no part of what was said
SURROGATE = re.compile("[\ud800-\udfff]")


def conversation(row: Row) -> list[Message]:
    """Return the row's messages as they are written. Raises Rejected when no known shape fits."""
    for keys, _, read in SHAPES:
        if keys <= row.keys():
            return [*_system(row), *read(row)]
    for keys, _, _ in SHAPES:
        present, missing = sorted(keys & row.keys()), sorted(keys - row.keys())
        if present:
            raise Rejected(f"{' and '.join(missing)} is missing", f"beside {', '.join(present)}")
    raise Rejected("none of the known fields", f"it has {', '.join(map(repr, sorted(row)[:5])) or 'no fields'}")


def ignored(row: Row) -> list[str]:
    """Return the fields that hold something and are no part of the conversation, sorted, fit to be written."""
    for keys, additions, _ in SHAPES:
        if keys <= row.keys():
            known = {*keys, *additions, *SILENT, "system"}
            held = [key for key, value in row.items() if key not in known and value and _may_hold_text(value)]
            return sorted(key.encode(errors="backslashreplace").decode() for key in held)
    return []


def clean(messages: Sequence[Message]) -> tuple[list[Message], set[Repair]]:
    """Return the messages in one normal form, and what was repaired. Raises Rejected for what no repair makes usable.

    NFC, because the same text in two forms is two texts to a tokenizer; LF line ends; no white space around a text.
    """
    repairs: set[Repair] = set()
    cleaned = []
    for message in messages:
        content = message["content"]
        for repair, apply in REPAIRS:
            repaired = apply(content)
            if repaired != content:
                repairs.add(repair)
            content = repaired
        if content:
            cleaned.append({"role": message["role"], "content": content})
        elif message["role"] == "system":
            repairs.add("an empty system message left out")
        else:
            raise Rejected(f"an empty {message['role']} message")
    _check_order([message["role"] for message in cleaned])
    return cleaned, repairs


def _from_messages(row: Row) -> list[Message]:
    if not isinstance(row["messages"], list) or not row["messages"]:
        raise Rejected("messages is not a list with something in it")
    found = []
    for number, message in enumerate(row["messages"], start=1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise Rejected("a message without role and content", f"message {number}")
        if message["role"] not in ROLES:
            raise Rejected(
                "a message of unknown role", f"message {number} has {message['role']!r:.40}; use {', '.join(ROLES)}"
            )
        found.append({"role": message["role"], "content": text(message, "content")})
    return found


def _system(row: Row) -> list[Message]:
    return [{"role": "system", "content": text(row, "system")}] if row.get("system") not in (None, "") else []


def _from_fields(prompt: str, additions: tuple[str, ...], answer: str) -> Callable[[Row], list[Message]]:
    def read(row: Row) -> list[Message]:
        given = [key for key in additions if row.get(key) not in (None, "")]
        question = "\n\n".join(text(row, key) for key in (prompt, *given))
        return [{"role": "user", "content": question}, {"role": "assistant", "content": text(row, answer)}]

    return read


def text(row: Row, key: str) -> str:
    """Return the text in a field. Raises Rejected when it is none, or none that a UTF-8 file can hold."""
    value: Any = row[key]
    if not isinstance(value, str):
        raise Rejected(f"{key} is not text", f"it is {value!r:.40}")
    if SURROGATE.search(value):
        raise Rejected("half of a surrogate pair", f"in {key}")
    if "\0" in value:
        raise Rejected("a NUL character", f"in {key}")
    return value


def _may_hold_text(value: Any) -> bool:
    return isinstance(value, str | list | dict)


def _check_order(roles: list[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in turns:
        raise Rejected("a system message that is not the first")
    if turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise Rejected("messages that do not alternate from user to assistant", " ".join(roles)[:60])


# What an instruction may be about; it follows the instruction.
ADDITIONS = ("input", "context")
# The fields that must be there, those that may be, and how to read them; beside each a `system` may stand. The first
# shape whose fields are all there is taken, so the more telling ones stand first.
SHAPES: list[tuple[set[str], tuple[str, ...], Callable[[Row], list[Message]]]] = [
    ({"messages"}, (), _from_messages),
    ({"instruction", "output"}, ADDITIONS, _from_fields("instruction", ADDITIONS, "output")),
    ({"instruction", "response"}, ADDITIONS, _from_fields("instruction", ADDITIONS, "response")),
    ({"prompt", "completion"}, (), _from_fields("prompt", (), "completion")),
]
REPAIRS: list[tuple[Repair, Callable[[str], str]]] = [
    ("line ends", lambda content: content.replace("\r\n", "\n")),
    ("Unicode form (NFC)", lambda content: unicodedata.normalize("NFC", content)),
    ("outer white space", str.strip),
]
