"""From a row of any known shape to what it says: messages in the right order with text in each, or one plain text."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import Row

Message = dict[str, str]
Content = list[Message] | str
Repair = str
ROLES = ("system", "user", "assistant")
# How ShareGPT names the roles.
SPEAKERS = {"human": "user", "gpt": "assistant"} | {role: role for role in ROLES}
# The shapes whose one field is a list of messages, each {"role", "content"}, or {"from", "value"} as in ShareGPT.
LISTS = ("messages", "conversations")
TOOLS = ("tool_calls", "function_call")
BESIDE = ("id", "task", "weight", "source")  # about the row, no part of what was said
SURROGATE = re.compile("[\ud800-\udfff]")
LINE_END = re.compile(r"\r+\n")


@dataclass(frozen=True)
class Shape:
    """The fields that a row must have, those that it may have, and how to read what it says."""

    name: str
    fields: tuple[str, ...]
    additions: tuple[str, ...]
    read: Callable[[Row], Content]


@dataclass(frozen=True)
class Layout:
    """What rows with the same fields have in common."""

    shape: Shape
    beside: tuple[str, ...]  # the fields about the row
    unused: tuple[tuple[str, str], ...]  # the other fields that the shape does not read, and how to print them

    def ignored(self, row: Row) -> list[str]:
        """Return the fields that hold something and are no part of what the row says, fit to be written."""
        unused = [shown for key, shown in self.unused if row[key] and isinstance(row[key], str | list | dict)]
        if (field := self.shape.name) in LISTS:
            inner = {key for message in row[field] if len(message) > 2 for key in message if message[key]}
            unused += sorted(f"{field}[].{_printable(key)}" for key in inner - {"role", "content", "from", "value"})
        return unused


@lru_cache(maxsize=1024)
def layout(fields: tuple[str, ...], wanted: str = "auto") -> Layout:
    """Return how to read rows that have these fields. Raises Rejected when no shape fits.

    `wanted` is the name of one of SHAPES, or auto: the first one whose fields are all there.
    """
    known = [shape for shape in SHAPES if wanted in ("auto", shape.name)]
    for shape in known:
        if set(shape.fields) <= set(fields):
            system = () if shape.name == "text" else ("system",)
            unused = sorted(set(fields) - {*shape.fields, *shape.additions, *system, *BESIDE})
            beside = tuple(field for field in BESIDE if field in fields)
            return Layout(shape, beside, tuple((key, _printable(key)) for key in unused))
    forced = "" if wanted == "auto" else f"the shape is to be {wanted}; "
    for shape in known:
        present, missing = (sorted(key for key in shape.fields if (key in fields) is there) for there in (True, False))
        if present:
            raise Rejected(f"{' and '.join(missing)} is missing", f"{forced}beside {', '.join(present)}")
    raise Rejected(
        "none of the known fields" if wanted == "auto" else f"{known[0].fields[-1]} is missing",
        f"{forced}it has {', '.join(map(repr, sorted(fields)[:5])) or 'no fields'}",
    )


def clean(content: Content) -> tuple[Content, set[Repair]]:
    """Return the content in one normal form, and what was repaired. Raises Rejected for what no repair makes usable.

    NFC, because the same text in two forms is two texts to a tokenizer; LF line ends; no white space around a text.
    """
    repairs: set[Repair] = set()
    if isinstance(content, str):
        if not (content := _tidy(content, repairs)):
            raise Rejected("an empty text")
        return content, repairs
    messages = []
    for message in content:
        role, text = message["role"], _tidy(message["content"], repairs)
        if text:
            messages.append({"role": role, "content": text})
        elif role == "system":
            repairs.add("an empty system message left out")
        else:
            raise Rejected(f"an empty {role} message")
    _check_order([message["role"] for message in messages])
    return messages, repairs


def text_in(row: Row, key: str) -> str:
    """Return the text in a field. Raises Rejected when it is none, or none that a UTF-8 file can hold."""
    value: Any = row[key]
    if not isinstance(value, str):
        raise Rejected(f"{key} is not text", f"it is {value!r:.40}")
    if not value.isascii() and SURROGATE.search(value):
        raise Rejected("half of a surrogate pair", f"in {key}")
    if "\0" in value:
        raise Rejected("a NUL character", f"in {key}")
    return value


def _tidy(text: str, repairs: set[Repair]) -> str:
    if "\r" in text and "\r\n" in text:
        repairs.add("line ends")
        text = LINE_END.sub("\n", text)
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        repairs.add("Unicode form (NFC)")
        text = unicodedata.normalize("NFC", text)
    tidy = text.strip()
    if len(tidy) != len(text):
        repairs.add("outer white space")
    return tidy


def _printable(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()


def _list(field: str) -> Callable[[Row], Content]:
    def read(row: Row) -> Content:
        if not isinstance(row[field], list) or not row[field]:
            raise Rejected(f"{field} is not a list with something in it")
        return _system(row) + [_message(message, number) for number, message in enumerate(row[field], start=1)]

    return read


def _message(message: Any, number: int) -> Message:
    if not isinstance(message, dict):
        raise Rejected("a message without role and content", f"message {number}")
    if "role" in message and "content" in message:
        said, role = "content", message["role"]
    elif "from" in message and "value" in message:
        said, role = "value", message["from"]
    else:
        raise Rejected("a message without role and content", f"message {number}")
    if not isinstance(role, str) or role not in SPEAKERS:
        raise Rejected("a message of unknown role", f"message {number} has {role!r:.40}; use {', '.join(ROLES)}")
    if len(message) > 2 and any(message.get(tool) for tool in TOOLS):
        raise Rejected("a tool call", f"message {number}")
    return {"role": SPEAKERS[role], "content": text_in(message, said)}


def _system(row: Row) -> list[Message]:
    return [{"role": "system", "content": text_in(row, "system")}] if row.get("system") not in (None, "") else []


def _pair(prompt: str, additions: tuple[str, ...], answer: str) -> Callable[[Row], Content]:
    def read(row: Row) -> Content:
        question = text_in(row, prompt)
        for key in additions:
            if row.get(key) not in (None, ""):
                question = f"{question}\n\n{text_in(row, key)}"
        said = {"role": "assistant", "content": text_in(row, answer)}
        return [*_system(row), {"role": "user", "content": question}, said]

    return read


def _text(row: Row) -> str:
    return text_in(row, "text")


def _check_order(roles: list[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns == ["user", "assistant"]:
        return
    if "system" in turns:
        raise Rejected("a system message that is not the first")
    if turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise Rejected("messages that do not alternate from user to assistant", " ".join(roles)[:60])


# What an instruction may be about; it follows the instruction.
ABOUT = ("input", "context")
# The more telling shapes stand first: a row with `messages` and `text` is a conversation. Beside each but a plain text
# a `system` may stand.
SHAPES = (
    Shape("messages", ("messages",), (), _list("messages")),
    Shape("conversations", ("conversations",), (), _list("conversations")),
    Shape("instruction", ("instruction", "output"), ABOUT, _pair("instruction", ABOUT, "output")),
    Shape("instruction", ("instruction", "response"), ABOUT, _pair("instruction", ABOUT, "response")),
    Shape("prompt", ("prompt", "completion"), (), _pair("prompt", (), "completion")),
    Shape("text", ("text",), (), _text),
)
