"""The report as sections of Markdown, each with the plots that belong to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollamake.report.settings import Settings

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What the report is made of: the content of metrics/NAME.json, and whatever else is named here.

    `base` is models/base.json, `samples` and `flips` are the pages of these names, `settings` the parameters.
    """

    prepare: Figures
    distill: Figures
    tokenize: Figures
    train: Figures
    gate: Figures
    judge: Figures
    convert: Figures
    base: Figures
    samples: str
    flips: str
    settings: Settings

    @property
    def base_name(self) -> str:
        """The base model's name; of a path, which says something of one machine only, the last part."""
        return last_part(self.base["name"])

    @property
    def files(self) -> dict[str, Figures]:
        """The figures of the GGUF files that were asked for, by quantization, the served one first."""
        return {name: self.convert[name] for name in self.settings.gguf_quantization if name in self.convert}


@dataclass(frozen=True)
class Section:
    """A heading, its Markdown, and the files in plots/ whose charts the HTML page shows below."""

    title: str
    body: str
    plots: Sequence[str] = ()

    @property
    def markdown(self) -> str:
        """The section as Markdown."""
        return f"## {self.title}\n\n{self.body.strip()}\n"


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    lead: str
    sections: Sequence[Section]

    @property
    def head(self) -> str:
        """Title and lead as Markdown."""
        return f"# {self.title}\n\n{self.lead.strip()}\n"

    @property
    def markdown(self) -> str:
        """The report as Markdown."""
        return "\n".join([self.head, *(section.markdown for section in self.sections)])


def last_part(name: str) -> str:
    """Return the last part of a path from the root or the home; any other name as it is."""
    return name.rstrip("/").rpartition("/")[2] if name.startswith(("/", "~")) else name
