"""The Modelfile as the `ollama` client reads it, character by character, written from reference/ollama.md §1.

It shares nothing with `ollamake.ollama.modelfile`, which it is there to check.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any

COMMANDS = ("from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message")
COMMANDS += ("requires",)
ROLES = ("system", "user", "assistant")
INTEGERS = {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "num_keep", "seed"}
INTEGERS |= {"num_predict", "top_k", "repeat_last_n"}
FLOATS = {"top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"}
DEPRECATED = {"penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock"}
DEPRECATED |= {"mirostat", "mirostat_tau", "mirostat_eta"}
LAST_WINS = ("template", "system", "adapter", "renderer", "parser", "requires")
SEMVER = re.compile(r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}([-+].*)?")
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
BLANKS, ENDS = " \t", "\r\n"


class ModelfileError(Exception):
    """What `ollama create` says and ends with."""


def commands(content: bytes) -> list[tuple[str, str]]:
    """Return (command or parameter key, value) in order; a message's value as `role: text`. Raises ModelfileError."""
    reader = _Reader(_decoded(content))
    found = list(reader)
    if not any(name == "from" for name, _ in found):
        raise ModelfileError("no FROM line")
    return found


def request(content: bytes) -> dict[str, Any]:
    """Return the fields that the client sends, the FROM values under `from`. Raises ModelfileError."""
    body: dict[str, Any] = {"from": [], "parameters": {}, "license": [], "messages": []}
    for name, value in commands(content):
        if name == "from":
            body["from"].append(value)
        elif name == "license":
            body["license"].append(value)
        elif name == "message":
            role, _, text = value.partition(": ")
            body["messages"].append({"role": role, "content": text})
        elif name in LAST_WINS:
            body[name] = _checked(name, value)
        elif name == "stop":
            body["parameters"].setdefault("stop", []).append(value)
        elif name not in DEPRECATED:
            body["parameters"][name] = _number(name, value)
    return {key: value for key, value in body.items() if value}


class _Reader:
    """Characters in, commands out."""

    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while self._at_command():
            name = self._word(str.isalpha)
            if name.lower() not in COMMANDS:
                choices = ", ".join(f'"{command}"' for command in COMMANDS[:-1])
                raise ModelfileError(f'(line {self._line()}): command must be one of {choices}, or "requires"')
            yield self._command(name.lower())

    def _command(self, name: str) -> tuple[str, str]:
        if name == "parameter":
            key = self._word(lambda character: character.isalnum() or character == "_")
            if not key:
                raise ModelfileError("unknown parameter ''")
            return key, self._value()
        if name == "message":
            role = self._word(str.isalpha)
            if role not in ROLES:
                raise ModelfileError(
                    f'(line {self._line()}): message role must be one of "system", "user", or "assistant"'
                )
            return name, f"{role}: {self._value()}"
        return name, self._value()

    def _at_command(self) -> bool:
        while self._place < len(self._text):
            character = self._text[self._place]
            if character == "#":
                while self._place < len(self._text) and self._text[self._place] not in ENDS:
                    self._place += 1
            elif character not in BLANKS + ENDS:
                return True
            self._place += 1
        return False

    def _word(self, belongs: Any) -> str:
        """Read a word and the one blank after it."""
        start = self._place
        while self._place < len(self._text) and self._text[self._place].isascii() and belongs(self._text[self._place]):
            self._place += 1
        word = self._text[start : self._place]
        if self._place == len(self._text):
            raise ModelfileError("unexpected EOF")
        if self._text[self._place] not in BLANKS:
            raise ModelfileError(f"(line {self._line()}): {word!r} is followed by {self._text[self._place]!r}")
        self._place += 1
        return word

    def _value(self) -> str:
        """Read up to the first end of a line at which no quotes are open."""
        read = ""
        while self._place < len(self._text):
            character = self._text[self._place]
            if character in ENDS and _closed(read) is not None:
                break
            self._place += 1
            if character.isprintable() or character in BLANKS + ENDS:
                read += character
        value = _closed(read)
        if value is None:
            raise ModelfileError("unexpected EOF")
        return value

    def _line(self) -> int:
        return 1 + sum(character in ENDS for character in self._text[: self._place])


def _closed(read: str) -> str | None:
    text = read.strip()
    if text[:3] == '"""':
        return text[3:-3] if len(text) >= 6 and text[-3:] == '"""' else None
    if text[:1] == '"':
        return text[1:-1] if len(text) >= 2 and text[-1] == '"' else None
    return text


def _decoded(content: bytes) -> str:
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    return content.decode("utf-8", errors="replace")


def _checked(name: str, value: str) -> str:
    if name == "requires" and not SEMVER.fullmatch(value):
        raise ModelfileError("requires must be a valid semver (e.g. 0.14.0)")
    return value


def _number(key: str, value: str) -> int | float | bool:
    if key not in INTEGERS | FLOATS | {"use_mmap"}:
        raise ModelfileError(f"unknown parameter '{key}'")
    try:
        if key == "use_mmap":
            return {"true": True, "false": False}[value.lower()]
        return int(value) if key in INTEGERS else float(value)
    except (ValueError, KeyError):
        kind = "int" if key in INTEGERS else "float" if key in FLOATS else "bool"
        raise ModelfileError(f"invalid {kind} value [{value}]") from None
