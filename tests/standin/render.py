"""Ollama's templates: its data for them, its rules for messages of one role in a row, and `gotpl` for Go's syntax."""

import json
from typing import Any

import gotpl

Message = dict[str, Any]
FUNCTIONS = {"json": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)}


def check(source: str) -> None:
    """Raise ValueError with Ollama's text for a template that does not parse."""
    try:
        gotpl.Template(source, functions=FUNCTIONS, missing_key="zero")
    except gotpl.TemplateError as error:
        raise ValueError(f"template error: template: :1: {error}") from error


def with_system(messages: list[Message], system: str) -> list[Message]:
    """Put the tag's own system prompt in front, unless the request brings one."""
    if system and (not messages or messages[0]["role"] != "system"):
        return [{"role": "system", "content": system}, *messages]
    return messages


def render(source: str, messages: list[Message], *, think: bool | None = None) -> str:
    """Return the prompt. Only templates over .Messages are known here; those are the ones that ollamake writes."""
    if ".Messages" not in source:
        raise ValueError("the stand-in renders templates over .Messages only")
    collated = _collate(messages)
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    thinking = {"Think": bool(think), "IsThinkSet": think is not None}
    data = {"Messages": collated, "System": system, "Tools": None, "Response": "", **thinking}
    return gotpl.render(source, data, functions=FUNCTIONS, missing_key="zero")


def _collate(messages: list[Message]) -> list[dict[str, Any]]:
    collated: list[dict[str, Any]] = []
    for message in messages:
        if collated and collated[-1]["Role"] == message["role"] != "tool":
            collated[-1]["Content"] += f"\n\n{message['content']}"
        else:
            collated.append({"Role": message["role"], "Content": message["content"], "ToolCalls": None, "Thinking": ""})
    return collated
