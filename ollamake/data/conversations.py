"""What a row says, from the texts and messages in its fields: messages in the right order, or one plain text."""

import re
import unicodedata
from typing import Any

from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import Row
from ollamake.params import SURROGATE

Message = dict[str, str]
Content = list[Message] | str
Repair = str
ROLES = ("system", "user", "assistant")
# How ShareGPT names the roles.
SPEAKERS = {"human": "user", "gpt": "assistant"} | {role: role for role in ROLES}
TOOLS = ("tool_calls", "function_call")
LINE_END = re.compile(r"\r+\n")


def clean(content: Content) -> tuple[Content, set[Repair]]:
    """Return the content in one normal form, and what was repaired. Raises Rejected for what no repair makes usable.

    NFC, because the same text in two forms is two texts to a tokenizer; LF line ends; no white space around a text.
    """
    repairs: set[Repair] = set()
    if isinstance(content, str):
        if not (content := _tidy(content, repairs)):
            raise Rejected("an empty text")
        return content, repairs
    return clean_messages(content, repairs), repairs


def clean_messages(given: list[Message], repairs: set[Repair]) -> list[Message]:
    """Return a conversation in its normal form, and add to `repairs`. Raises Rejected as `clean` does."""
    messages = []
    for message in given:
        role, text = message["role"], _tidy(message["content"], repairs)
        if text:
            messages.append({"role": role, "content": text})
        elif role == "system":
            repairs.add("an empty system message left out")
        else:
            raise Rejected(f"an empty {role} message")
    _check_order([message["role"] for message in messages])
    return messages


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


def messages_in(row: Row, field: str) -> list[Message]:
    """Return the messages in a field: a list of them, each {"role", "content"}, or {"from", "value"} as in ShareGPT.

    Raises Rejected for what is none.
    """
    if not isinstance(row[field], list) or not row[field]:
        raise Rejected(f"{field} is not a list with something in it")
    return [_message(message, number) for number, message in enumerate(row[field], start=1)]


def system_of(row: Row) -> list[Message]:
    """Return the system message that stands in a field of its own, if there is one."""
    return [{"role": "system", "content": text_in(row, "system")}] if row.get("system") not in (None, "") else []


def answered(before: list[Message], row: Row, field: str) -> list[Message]:
    """Return the conversation whose answer is in a field: a text or messages, which answer `before` or hold it too.

    Raises Rejected when the assistant does not have the last word, or when another prompt is answered.
    """
    if isinstance(row[field], list):
        messages = messages_in(row, field)
    elif isinstance(row[field], dict):
        messages = [_message(row[field], 1)]
    else:
        return [*before, {"role": "assistant", "content": text_in(row, field)}]
    if messages[-1]["role"] != "assistant":
        raise Rejected(f"{field} is not by the assistant", f"it ends with the {messages[-1]['role']}")
    if messages[0]["role"] == "assistant":
        return [*before, *messages]
    asked = {_tidy(message["content"], set()) for message in before if message["role"] == "user"}
    said = {_tidy(message["content"], set()) for message in messages[:-1]}
    if not asked <= said:
        raise Rejected(f"{field} answers another prompt")
    return [*system_of(row), *messages]


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


def _check_order(roles: list[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns == ["user", "assistant"]:
        return
    if "system" in turns:
        raise Rejected("a system message that is not the first")
    if turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise Rejected("messages that do not alternate from user to assistant", " ".join(roles)[:60])
