"""What is wrong with rows: each finding with its place, all of them counted, in a size that rows do not change."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

FIRST_KEPT = 10
PLACES_SHOWN = 5
REASONS_SHOWN = 10
EXCERPT_CHARACTERS = 80


class Rejected(Exception):  # noqa: N818 - it is a verdict, not an error
    """A row that cannot be used: `reason` is one of a few fixed texts, to be counted; `detail` is about this row.

    `excerpt` is the beginning of a row that could not even be read; one that could is shown by who asked for it.
    """

    def __init__(self, reason: str, detail: str = "", excerpt: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail, self.excerpt = reason, detail, excerpt


@dataclass(frozen=True)
class Place:
    """Where a row stands: a file, and the number of its line, or of its row in a table."""

    file: str
    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}"


@dataclass(frozen=True)
class Finding:
    """One row and what was found about it; `verdict` is rejected, repaired or left out."""

    place: Place
    verdict: str
    reason: str
    detail: str = ""
    excerpt: str = ""


@dataclass
class Findings:
    """Findings of one kind: how many for each reason, and the first ones of each in full."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, reason: str, describe: Callable[[], Finding]) -> None:
        """Count a row; only the first ones of each reason are described."""
        self.counts[reason] += 1
        if self.counts[reason] <= FIRST_KEPT:
            self.first.setdefault(reason, []).append(describe())

    def extend(self, later: "Findings") -> None:
        """Add the findings of rows that come after all of these."""
        self.counts.update(later.counts)
        for reason, found in later.first.items():
            kept = self.first.setdefault(reason, [])
            kept += found[: FIRST_KEPT - len(kept)]

    def ranked(self) -> list[tuple[str, int]]:
        """Return the reasons with their counts, the most frequent first, equal ones by name."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    def summary(self, *, name_files: bool) -> list[str]:
        """Return one text for each reason, the most frequent first: its count, its first places, its first detail."""
        shown = [self._text(reason, count, name_files) for reason, count in self.ranked()[:REASONS_SHOWN]]
        hidden = len(self.counts) - len(shown)
        return [*shown, *([f"and {hidden} more reasons"] if hidden > 0 else [])]

    def _text(self, reason: str, count: int, name_files: bool) -> str:
        found = self.first[reason][:PLACES_SHOWN]
        places = []
        for (file, unit), group in groupby(found, key=lambda finding: (finding.place.file, finding.place.unit)):
            numbers = [str(finding.place.number) for finding in group]
            plural = "s" if len(numbers) > 1 else ""
            places.append(f"{f'{file} ' if name_files else ''}{unit}{plural} {', '.join(numbers)}")
        more = f" and {count - len(found)} more" if count > len(found) else ""
        detail = f" ({'the first: ' if count > 1 else ''}{found[0].detail})" if found[0].detail else ""
        return f"{count} × {reason}: {'; '.join(places)}{more}{detail}"


def excerpt(text: str) -> str:
    """Return the beginning of the text on one line, with what does not print shown as an escape."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: EXCERPT_CHARACTERS + 1]
    )
    return shown if len(shown) <= EXCERPT_CHARACTERS else f"{shown[: EXCERPT_CHARACTERS - 1]}…"


def excerpt_of(row: dict[str, Any]) -> str:
    """Return the beginning of a row, written as JSON."""
    return excerpt(json.dumps(row, ensure_ascii=False, default=repr))
