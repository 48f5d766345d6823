"""Ollama's templates: its data for them, its rules for messages of one role in a row, and `gotpl` for Go's syntax."""

import json
from collections.abc import Mapping
from typing import Any

import gotpl

from ollamake.chat import ChatTemplate
from ollamake.ollama.gguf_header import TOKENS, begin_of_text

Message = dict[str, Any]
# What a template says when it can do more than chat: in Jinja, and in Go's syntax.
ABILITIES = (("tools", ".Tools"), ("<think>", "<think>"))
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


def prefers_jinja(jinja: str, template: str) -> bool:
    """Tell whether servers from 0.30 on would use the GGUF's own template: it is the only one, or can do more."""
    return bool(jinja) and (not template or any(ours in jinja and go not in template for ours, go in ABILITIES))


def render_jinja(jinja: str, messages: list[Message], header: Mapping[str, Any]) -> str:
    """Return the prompt as llama-server writes it: without the first token, which it adds itself."""
    ids = {key: header.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos")}
    special = tuple((f"{key}_token", header[TOKENS][number]) for key, number in ids.items() if number is not None)
    text = ChatTemplate(jinja, special).render(messages, add_generation_prompt=True)
    return text.removeprefix(begin_of_text(header))


def _collate(messages: list[Message]) -> list[dict[str, Any]]:
    collated: list[dict[str, Any]] = []
    for message in messages:
        if collated and collated[-1]["Role"] == message["role"] != "tool":
            collated[-1]["Content"] += f"\n\n{message['content']}"
        else:
            collated.append({"Role": message["role"], "Content": message["content"], "ToolCalls": None, "Thinking": ""})
    return collated
