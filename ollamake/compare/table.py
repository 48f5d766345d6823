"""Tables as data: what the screen and the page both show."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

ABSENT = "–"
COARSE = 0.1  # a smaller share has a digit after the point

Write = Callable[[Any], str]


class Mark(StrEnum):
    """What a cell is, against the reference, as a character that needs no colour."""

    NONE = ""
    BETTER = "▲"
    WORSE = "▼"
    CHANCE = "≈"


@dataclass(frozen=True)
class Cell:
    """A text, and whether it is better or worse than that of the reference."""

    text: str
    mark: Mark = Mark.NONE


@dataclass(frozen=True)
class Line:
    """A row: its name, a cell for each further column, and whether the revisions differ in it."""

    name: str
    cells: Sequence[Cell]
    differs: bool = True


@dataclass(frozen=True)
class Table:
    """Rows under a head; a table with `detail` is for the page, and for the screen when all is asked for.

    `title` stands above it where a section has several, `texts` is true where cells hold words rather than numbers,
    `of_builds` where its columns are the builds, the reference first.
    """

    head: Sequence[str]
    lines: Sequence[Line]
    title: str = ""
    texts: bool = False
    detail: bool = False
    of_builds: bool = False

    @property
    def differing(self) -> "Table":
        """The same table with the rows in which the revisions differ."""
        return replace(self, lines=[line for line in self.lines if line.differs])

    @property
    def same(self) -> "Table":
        """The same table with the other rows."""
        return replace(self, lines=[line for line in self.lines if not line.differs])

    def parts(self, builds: int) -> Iterator["Table"]:
        """Yield the table with so many builds beside the reference at a time, where its columns are builds."""
        if not self.of_builds:
            yield self
            return
        for start in range(1, len(self.head) - 1, builds):
            columns = [0, *range(start, min(start + builds, len(self.head) - 1))]
            lines = [replace(line, cells=[line.cells[place] for place in columns]) for line in self.lines]
            yield replace(self, head=[self.head[0], *(self.head[place + 1] for place in columns)], lines=lines)


def of_builds(names: Sequence[str], lines: Sequence[Line], title: str = "", *, texts: bool = False) -> Table:
    """Return a table with a column for each build."""
    return Table(["", *names], lines, title, texts, of_builds=True)


def beside(values: Sequence[Mapping[str, Any]], write: Write = str, prefix: str = "") -> list[Line]:
    """Return a line for each name in `values`, which has a mapping for each revision, the reference first."""
    names = dict.fromkeys(name for each in values for name in each)
    return [line(f"{prefix}{name}", [each.get(name) for each in values], write) for name in names]


def line(name: str, values: Sequence[Any], write: Write = str) -> Line:
    """Return a line of values, None where a revision has none."""
    cells = [Cell(ABSENT if value is None else write(value)) for value in values]
    # 8 and 8.0 are one number, and true is none.
    keys = {(isinstance(value, bool), value) for value in map(_hashable, values)}
    return Line(name, cells, differs=len(keys) > 1)


def numbers(name: str, values: Sequence[float | None], write: Write, better: int = 0) -> Line:
    """Return a line of numbers, those after the first with the change in percent; `better` as in `scoring.names`."""
    first = values[0]
    cells = [Cell(ABSENT if value is None else write(value)) for value in values]
    for place, value in enumerate(values[1:], start=1):
        if first is not None and value is not None and value != first:
            share = f" ({_percent(value / first - 1)})" if first > 0 <= value else ""
            cells[place] = Cell(cells[place].text + share, direction(value - first, better))
    return Line(name, cells, differs=len(set(values)) > 1)


def direction(change: float, better: int) -> Mark:
    """Return whether a change is for the better, where higher is better (1), lower (-1) or neither (0)."""
    return Mark.NONE if not change * better else Mark.BETTER if change * better > 0 else Mark.WORSE


def mapped(values: Iterable[Mapping[str, Any]], change: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Return the mappings with every value changed by the function."""
    return [{name: change(value) for name, value in each.items()} for each in values]


def _percent(share: float) -> str:
    if share >= 1:
        return f"×{share + 1:.3g}"
    return f"{100 * share:+z.0f} %" if abs(share) >= COARSE else f"{100 * share:+z.1f} %"


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)
