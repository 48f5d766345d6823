"""The names that Ollama takes: [[host/]namespace/]model[:tag]."""

import re
from typing import Annotated

from pydantic import AfterValidator

FORM = "[namespace/]model[:tag] in letters, digits, - _ and ."
LATEST = "latest"
# The tag leaves room for the suffix of a candidate within Ollama's 80 characters.
_NAME = re.compile(
    r"(?:(?:[\w][\w.:-]{0,349}/)?[\w][\w-]{0,79}/)?[\w][\w.-]{0,79}(?::(?P<tag>[\w][\w.-]{0,69}))?", re.ASCII
)
# Since 2026 these tags name where a model runs, not a model.
_SOURCES = re.compile(r"local|cloud|.*-cloud", re.IGNORECASE)


def check_name(text: str) -> str:
    """Return the text if Ollama takes it as the name of a model on its own disk. Raises ValueError."""
    match = _NAME.fullmatch(text)
    if not match:
        raise ValueError(f"must be {FORM}")
    if _SOURCES.fullmatch(match["tag"] or LATEST):
        raise ValueError(f"must not have the tag {match['tag']}, with which Ollama means a place")
    return text


ModelName = Annotated[str, AfterValidator(check_name)]


def listed_name(name: str) -> str:
    """Return `name` as Ollama lists it: with the tag `latest` where it has none, without the registry it assumes."""
    name = name.removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:{LATEST}"
