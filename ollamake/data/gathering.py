"""The first pass: all rows of all sources, read by every core, their lines on disk and their columns in memory."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ollamake.data.columns import Columns
from ollamake.data.findings import Findings, Place
from ollamake.data.formats.reading import chunks
from ollamake.data.records import Batch, Piece, Reader
from ollamake.data.sources import Source
from ollamake.data.spool import Spool
from ollamake.parallel import in_order

TASKS_TOLD_APART = 1000
OTHER_TASKS = "other tasks"


class Span(NamedTuple):
    """Rows that stand next to each other in one file: where they begin among all rows."""

    first: int
    file: str
    unit: str
    source: int


@dataclass
class Gathered:
    """The usable rows of all sources, and the findings about the others. A row is an index into the columns."""

    sources: Sequence[Source]
    columns: Columns = field(default_factory=Columns)
    spans: list[Span] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)  # of each source, usable or not
    tasks: dict[str, int] = field(default_factory=lambda: {"": 0})
    rejected: Findings = field(default_factory=Findings)
    repaired: Findings = field(default_factory=Findings)
    ignored: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)  # answers, by what is thought of them

    def place(self, row: int) -> Place:
        """Return where a row stands in the user's files."""
        span = self.spans[bisect_right(self.spans, row, key=lambda span: span.first) - 1]
        return Place(span.file, span.unit, self.columns.number[row])

    def slices(self) -> Iterator[tuple[Source, slice]]:
        """Yield each source with its rows, which stand next to each other."""
        for number, source in enumerate(self.sources):
            firsts = [span.first for span in self.spans if span.source == number]
            ends = [span.first for span in self.spans if span.source > number]
            end = ends[0] if ends else len(self.columns)
            yield source, slice(firsts[0] if firsts else end, end)

    def add(self, batch: Batch) -> None:
        """Append the rows of the next batch."""
        span = Span(len(self.columns), batch.file, batch.unit, batch.source)
        if not self.spans or self.spans[-1][1:] != span[1:]:
            self.spans.append(span)
        self.rows[self.sources[batch.source].name] += batch.rows
        self.rejected.extend(batch.rejected)
        self.repaired.extend(batch.repaired)
        self.ignored.update(batch.ignored)
        self.judged.update(batch.judged)
        if len(batch.tasks) > 1:
            known = [self._task(name) for name in batch.tasks]
            batch.columns.task = array("I", map(known.__getitem__, batch.columns.task))
        self.columns.extend(batch.columns)

    def _task(self, name: str) -> int:
        if name not in self.tasks and len(self.tasks) > TASKS_TOLD_APART:
            name = OTHER_TASKS
        return self.tasks.setdefault(name, len(self.tasks))


def gather(reader: Reader, spool: Spool) -> Gathered:
    """Read all files of all sources, one after the other. Raises DataError for a file that cannot be read."""
    gathered = Gathered(reader.sources)
    for batch in in_order(reader, _pieces(reader.sources)):
        spool.append(batch.lines, batch.sketches)
        gathered.add(batch)
    return gathered


def _pieces(sources: Sequence[Source]) -> Iterator[Piece]:
    for number, source in enumerate(sources):
        for file in source.files:
            yield from (Piece(chunk, file, number) for chunk in chunks(Path(file)))
