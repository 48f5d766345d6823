"""models/cards.yaml beside models/catalog.yaml: what a person chooses a base model by, each fact with its source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.catalog.shape import Shape
from ollamake.errors import BaseModelError
from ollamake.resolve.catalog import CATALOG, Entry, close_names, find, read_catalog

CARDS = Path("models/cards.yaml")
Task = Literal["chat", "instruct", "code", "math", "summarize", "rewrite", "tools"]
# How a base model can come: safetensors from the hub, a GGUF (a file, or one that Ollama has pulled), a Python wheel.
Format = Literal["safetensors", "gguf", "wheel"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Licence(_Part):
    """A licence: what it allows, its terms in a sentence, and where the text is."""

    permissive: bool
    commercial: bool
    terms: str
    text: str


class Size(_Part):
    """One size of a family: the dimensions of config.json, and tasks that only this size is made for."""

    shape: tuple[int, int, int, int, int, int, int]
    tied: bool
    experts: int = 1
    also: tuple[Task, ...] = ()


class Family(_Part):
    """What the authors say of models that differ in size only, and where they say it."""

    tasks: tuple[Task, ...]
    languages: tuple[str, ...]
    says: str
    gguf: bool
    sizes: dict[str, Size]


class _Cards(_Part):
    licences: dict[str, Licence]
    families: dict[str, Family]


@dataclass(frozen=True)
class Model:
    """A base model of the catalog with all that is known of it."""

    name: str
    entry: Entry
    licence: Licence
    family: Family
    size: Size

    @property
    def shape(self) -> Shape:
        """Its dimensions."""
        layers, width, feed_forward, heads, key_value_heads, head_width, vocabulary = self.size.shape
        return Shape(
            architecture=self.entry.architecture,
            layers=layers,
            width=width,
            feed_forward=feed_forward,
            heads=heads,
            key_value_heads=key_value_heads,
            head_width=head_width,
            vocabulary=vocabulary,
            tied=self.size.tied,
            experts=self.size.experts,
        )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What its authors made it for."""
        return self.family.tasks + self.size.also

    @property
    def formats(self) -> tuple[Format, ...]:
        """How it can come."""
        come: dict[Format, bool] = {
            "safetensors": True,
            "gguf": self.family.gguf,
            "wheel": self.entry.wheel is not None,
        }
        return tuple(name for name, comes in come.items() if comes)

    @property
    def served(self) -> bool:
        """Whether `convert` has a template for Ollama that writes what this model's own chat template writes."""
        return self.entry.chat_format not in ("none", "neural-chat")


def read_models(catalog: Path = CATALOG, cards: Path = CARDS) -> list[Model]:
    """Return all base models of the catalog, in its order. Raises BaseModelError for files that do not fit together."""
    entries = read_catalog(catalog)
    try:
        content = _Cards.model_validate(YAML(typ="safe", pure=True).load(cards.read_text(encoding="utf-8")))
        return [_model(name, entry, content) for name, entry in entries.items()]
    except KeyError as error:
        raise _damaged(f"knows nothing of {error.args[0]}", cards) from error
    except (OSError, YAMLError, ValidationError) as error:
        raise _damaged(f"is not what it should be: {error}", cards) from error


def find_model(request: str, models: list[Model]) -> Model:
    """Return the model of this name or hub id. Raises BaseModelError with the names most like it."""
    entries = {model.name: model.entry for model in models}
    if found := find(request, entries):
        return next(model for model in models if model.name == found[0])
    close = close_names(request, entries)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise BaseModelError(
        f"{request!r} is not in {CATALOG}", hint=f"{meant}`python -m ollamake models list` shows the names"
    )


def _model(name: str, entry: Entry, cards: _Cards) -> Model:
    family, _, size = name.partition(":")
    known = cards.families[family]
    return Model(name, entry, cards.licences[entry.license], known, known.sizes[size])


def _damaged(problem: str, cards: Path) -> BaseModelError:
    return BaseModelError(problem, where=str(cards), hint=f"`git checkout {cards}` restores it")
