"""The Modelfile: what `ollama create -f` reads, written so that it reads back as meant.

The grammar has no escapes. A value is bare, in quotes or in triple quotes; it ends at the first end of a line where the
text so far opens and closes with the same quotes; characters that Go calls unprintable vanish without a word (Ollama's
parser/parser.go, 0.33). Whatever cannot survive that is refused here.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from ollamake.errors import ConversionError

Parameter = int | float | Sequence[str]
Command = tuple[str, str]

LINE_END = re.compile(r"([\r\n])")
TRIPLE = '"""'
COMMANDS = ("from", "template", "system", "adapter", "license", "renderer", "parser", "requires", "draft")
BLANKS = " \t"
HEAD = re.compile(
    r"(?:parameter[ \t](?P<key>\w+)|message[ \t](?P<role>(?-i:system|user|assistant))|(?P<name>[a-z]+))"
    r"[ \t](?P<value>.*)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Modelfile:
    """A served model as Ollama sees it; `gguf` is a path relative to the Modelfile, an empty `system` means none."""

    gguf: str
    template: str
    system: str
    license: str
    parameters: Mapping[str, Parameter]

    def commands(self) -> list[Command]:
        """Return the commands in order, a list of parameters as one command for each element."""
        texts = [("from", self.gguf), ("template", self.template), ("system", self.system), ("license", self.license)]
        return [(name, text) for name, text in texts if text] + list(_flat(self.parameters))

    def render(self) -> str:
        """Return the text of the file. Raises ConversionError where the grammar cannot carry a value."""
        text = "".join(_line(name, value) for name, value in self.commands())
        if parse(text) != self.commands():
            raise ConversionError("the Modelfile does not read back as written", hint="please report this as a bug")
        return text


def parse(text: str) -> list[Command]:
    """Return the commands of a Modelfile as Ollama reads them: (name or parameter key, value), a message `role: text`.

    Raises ConversionError for an unknown command, for a quote that is never closed, and where FROM is missing.
    """
    commands: list[Command] = []
    pieces = iter(LINE_END.split(text.removeprefix("\ufeff")))
    for line in pieces:
        if not line.strip(BLANKS + "\r\n") or line.lstrip(BLANKS).startswith("#"):
            continue
        head = HEAD.fullmatch(line.lstrip(BLANKS))
        if not head or (head["name"] and head["name"].lower() not in COMMANDS):
            raise ConversionError(f"the Modelfile has a line that is no command: {line[:60]!r}")
        value = _value(head["value"], pieces)
        if head["role"]:
            commands.append(("message", f"{head['role']}: {value}"))
        else:
            commands.append((head["key"] or head["name"].lower(), value))
    if all(name != "from" for name, _ in commands):
        raise ConversionError("the Modelfile has no FROM line")
    return commands


def _value(start: str, pieces: Iterator[str]) -> str:
    text = _without_lost(start)
    while (value := _unquote(text.strip())) is None:
        try:
            text += _without_lost(next(pieces))
        except StopIteration:
            raise ConversionError(f"the Modelfile never closes the quotes of {start[:40]!r}") from None
    return value


def _without_lost(text: str) -> str:
    return "".join(character for character in text if _kept(character))


def _unquote(text: str) -> str | None:
    """Return the value inside its quotes; None while they are still open."""
    quotes = TRIPLE if text.startswith(TRIPLE) else '"' if text.startswith('"') else ""
    if len(text) < 2 * len(quotes) or not text.endswith(quotes):
        return None
    return text[len(quotes) : len(text) - len(quotes)]


def _flat(parameters: Mapping[str, Parameter]) -> Iterator[Command]:
    for key, value in parameters.items():
        if isinstance(value, int | float):
            yield key, str(value)
        else:
            yield from ((key, text) for text in value)


def _line(name: str, value: str) -> str:
    if name == "from":
        return f"FROM {value}\n"
    if name in COMMANDS:
        return f"{name.upper()} {_quoted(value, name.upper())}\n"
    return f"PARAMETER {name} {_quoted(value, name) if name == 'stop' else value}\n"


def check_text(text: str) -> str:
    """Return the text if a Modelfile can carry it. Raises ValueError that says what it cannot, without a subject."""
    lost = sorted({_describe(character) for character in text if not _kept(character)})
    if lost:
        raise ValueError(f"holds {', '.join(lost[:5])}, which Ollama drops from a Modelfile without a word")
    if any(line.rstrip().endswith(TRIPLE) for line in LINE_END.split(text)):
        raise ValueError(f"has a line that ends with {TRIPLE}, where Ollama would end the text")
    return text


ModelfileText = Annotated[str, AfterValidator(check_text)]


def _quoted(value: str, what: str) -> str:
    try:
        check_text(value)
    except ValueError as error:
        hint = "take it out of the text (system_prompt in params.yaml, or the chat template of the base model)"
        raise ConversionError(f"{what} {error}", hint=hint) from error
    return f'"{value}"' if what == "stop" and '"' not in value else TRIPLE + value + TRIPLE


def _kept(character: str) -> bool:
    # Python's isprintable and Go's strconv.IsPrint are one definition: letters, marks, numbers, signs and the space.
    return character.isprintable() or character in "\n\r\t"


def _describe(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '(control)')}"
