"""What is wrong with rows, counted by reason, with the first lines of each: its size does not grow with the data."""

from collections import Counter
from dataclasses import dataclass, field

LINES_KEPT = 5
REASONS_SHOWN = 10


class Rejected(Exception):  # noqa: N818 - it is a verdict, not an error
    """A row that cannot be used. `reason` is one of a few fixed texts, to be counted; `detail` is about this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass
class Findings:
    """The rejected rows: how many for each reason, and where the first ones are."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, line: int, verdict: Rejected) -> None:
        """Count the row in `line`."""
        self.counts[verdict.reason] += 1
        lines = self.lines.setdefault(verdict.reason, [])
        if len(lines) < LINES_KEPT:
            lines.append(line)
        self.details.setdefault(verdict.reason, verdict.detail)

    def summary(self) -> list[str]:
        """Return one text for each reason, the most frequent first: its count, its first lines, its first detail."""
        shown = [self._text(reason) for reason, _ in self.counts.most_common(REASONS_SHOWN)]
        hidden = len(self.counts) - len(shown)
        return [*shown, *([f"and {hidden} more reasons"] if hidden > 0 else [])]

    def _text(self, reason: str) -> str:
        count, lines = self.counts[reason], self.lines[reason]
        more = f" and {count - len(lines)} more" if count > len(lines) else ""
        places = f"line{'s' if count > 1 else ''} {', '.join(map(str, lines))}{more}"
        detail = f" ({'the first: ' if count > 1 else ''}{self.details[reason]})" if self.details[reason] else ""
        return f"{count} × {reason}: {places}{detail}"
