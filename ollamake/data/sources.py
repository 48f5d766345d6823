"""What data/raw/source.json says is to be read: the sources of the mixture, their files, and how to take each."""

from dataclasses import dataclass
from pathlib import Path

from ollamake.files import read_json


@dataclass(frozen=True)
class Source:
    """One source of rows. `shape` auto, an empty `task` or `losses` and `max_examples` 0 say nothing of their own."""

    name: str
    files: tuple[str, ...]
    shape: str = "auto"
    task: str = ""
    weight: float = 1.0
    max_examples: int = 0
    losses: str = ""


def read_sources(path: Path, *, row_shape: str, max_examples: int) -> tuple[Source, ...]:
    """Return the sources that `path` lists; the two parameters hold for those that do not say otherwise."""
    found = []
    for entry in read_json(path)["sources"]:
        shape = entry["shape"] if entry["shape"] != "auto" else row_shape
        limits = {"shape": shape, "max_examples": entry["max_examples"] or max_examples}
        found.append(Source(**{**entry, **limits, "files": tuple(entry["files"])}))
    return tuple(found)
