"""A comparison as sections, before anyone draws it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ollamake.compare.table import Mark, Table


@dataclass(frozen=True)
class Answer:
    """What one build answered; `changes` are its words, each with whether the reference build did not say it."""

    name: str
    text: str
    score: str
    mark: Mark
    changes: Sequence[tuple[str, bool]] = ()


@dataclass(frozen=True)
class Conversation:
    """One test conversation with the answers of all builds; prompt and reference are empty where they are unknown."""

    id: str
    prompt: str
    reference: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Chart:
    """A drawn plot."""

    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; `same` is said where no table has a row that differs."""

    title: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    conversations: Sequence[Conversation] = ()
    charts: Sequence[Chart] = ()
    same: str = ""

    @property
    def differs(self) -> bool:
        """Whether it has anything to show beside what is the same in all builds."""
        return bool(self.conversations or self.charts or any(table.differing.lines for table in self.tables))


@dataclass(frozen=True)
class Document:
    """The whole comparison: its title, what it comes to in a few sentences, what is missing, and the sections."""

    title: str
    lead: Sequence[str]
    remarks: Sequence[str]
    sections: Sequence[Section] = field(default_factory=list)
