"""The Go template that Ollama renders, chosen because it writes what the Jinja template of training writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ollamake.chat import Message
from ollamake.errors import ConversionError, ParityError
from ollamake.gguf.findings import difference, first_difference

TEMPLATES = Path(__file__).parent / "templates"
OWN = Path("models/templates")
SYSTEM_SLOT = "DEFAULT_SYSTEM"


def candidates(default_system: str) -> dict[str, str]:
    """Return the Go templates by name, a person's own first; those of ours by their file names.

    One with a slot for the model's own system text is there only if it has one.
    """
    files = {str(file): file for file in sorted(OWN.glob("*.gotmpl"))}
    files |= {file.name: file for file in sorted(TEMPLATES.glob("*.gotmpl"))}
    sources = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    text = default_system.replace("{{", '{{ "{{" }}')
    return {
        name: source.replace(SYSTEM_SLOT, text) for name, source in sources.items() if text or SYSTEM_SLOT not in source
    }


def render(source: str, messages: Sequence[Message], where: str = str(OWN)) -> str:
    """Return what Ollama makes of `source`: the data it passes for a chat without tools. Raises ConversionError."""
    import gotpl

    data = {
        "Messages": [{"Role": message["role"], "Content": message["content"]} for message in messages],
        "System": "\n\n".join(message["content"] for message in messages if message["role"] == "system"),
    }
    try:
        text: str = gotpl.render(source, data, missing_key="zero")
    except gotpl.TemplateError as error:
        raise ConversionError(f"is no Go template: {error}", where=where, hint="correct the file") from error
    return text


def choose(
    expected: Mapping[str, str], templates: Mapping[str, str], conversations: Mapping[str, Sequence[Message]]
) -> str:
    """Return the first of `templates` that renders every one of `conversations` in `expected` (name to prompt) so.

    Equality of what is written decides, never likeness of the sources: Ollama itself picks by edit distance, and
    so drops SmolLM2's own system message. Raises ParityError with the closest candidate.
    """
    differing: dict[str, dict[str, Any]] = {}
    for name, source in templates.items():
        rendered = {conversation: render(source, conversations[conversation], name) for conversation in expected}
        differing[name] = {key: text for key, text in rendered.items() if text != expected[key]}
        if not differing[name]:
            return source

    def distance(name: str) -> tuple[int, int]:
        agreed = sum(first_difference(expected[key], text) for key, text in differing[name].items())
        return len(differing[name]), -agreed

    closest = min(differing, key=distance)
    conversation, text = next(iter(differing[closest].items()))
    shown = "\n".join(f"    {line}" for line in difference(expected[conversation], text).splitlines())
    right = f"{len(expected) - len(differing[closest])} of {len(expected)} conversations right"
    raise ParityError(
        f"none of the {len(templates)} Go templates writes the prompts of training\n"
        f"  closest is {closest}: {right}; for {conversation!r} it differs:\n{shown}",
        where=str(OWN),
        hint="add a .gotmpl file there that writes what the chat template of training writes; where only spaces "
        "around a message differ, take them out of data_source and system_prompt, for no Go template can strip them",
    )
