"""What became of all rows, in numbers and with the first ones of each kind; and when that is a failure."""

import os.path
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ollamake.data.findings import Findings
from ollamake.data.sources import Source
from ollamake.data.split import SPLITS
from ollamake.errors import DataError

IGNORED_SHOWN = 10
CROWDED = 0.05  # the share of the rows from which near duplicates are more likely a template than an accident
SHAPES_HINT = (
    'a row is {"instruction", "output"}, {"instruction", "response"}, {"prompt", "completion"}, {"messages": [{"role", '
    '"content"}, …]}, {"conversations": [{"from", "value"}, …]} or {"text"}; one of judged answers is {"prompt", '
    '"chosen", "rejected"} or {"prompt", "completion", "label": true or false}'
)


# Why a row that could be used is in no split.
REPEATED = "the prompt and the answer of an earlier row"
NEARLY_REPEATED = "nearly the prompt of an earlier row, and its answer"
BEYOND = "beyond max_examples"
UNDRAWN = "a weight below 1"


@dataclass
class Tally:
    """The numbers for metrics/prepare.json. What is kept is counted in written rows, copies included."""

    sources: Sequence[Source]
    rows: Counter[str] = field(default_factory=Counter)  # by source
    rejected: Findings = field(default_factory=Findings)
    repaired: Findings = field(default_factory=Findings)
    ignored: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)  # usable rows by what is thought of their answer
    left_out: Findings = field(default_factory=Findings)
    tied: Findings = field(default_factory=Findings)  # near duplicates that stay
    groups: int = 0  # of them
    rows_in_groups: int = 0
    largest_group: int = 0
    kept: dict[str, int] = field(default_factory=dict)  # by split
    copies: int = 0
    kept_by_source: Counter[str] = field(default_factory=Counter)
    kept_by_task: dict[str, int] = field(default_factory=dict)

    @property
    def rejected_fraction(self) -> float:
        """The share of the rows that could not be used."""
        return self.rejected.counts.total() / self.rows.total() if self.rows.total() else 0.0

    @property
    def where(self) -> str:
        """The file that the rows come from, or the folder that all of them lie in."""
        files = [file for source in self.sources for file in source.files]
        return files[0] if len(files) == 1 else os.path.commonpath(map(os.path.abspath, files))

    def __str__(self) -> str:
        kept = ", ".join(f"{count} {name}" for name, count in self.kept.items())
        duplicates = self.left_out.counts[REPEATED] + self.left_out.counts[NEARLY_REPEATED]
        return f"{self.rows.total()} rows: {kept}; {duplicates} duplicates, {self.rejected.counts.total()} rejected"

    @property
    def warning(self) -> str:
        """What a person should know who does not read the report; empty if there is nothing."""
        dropped = self.left_out.counts[NEARLY_REPEATED]
        if max(dropped, self.largest_group) <= CROWDED * self.rows.total():
            return ""
        return (
            f"warning: {dropped} rows were dropped and {self.largest_group} tied to one split as near duplicates; "
            "if they only share a template, raise near_duplicate_threshold (data/prepared/report.md shows them)"
        )

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for metrics/prepare.json."""
        names = list(dict.fromkeys(source.name for source in self.sources))
        return {
            "rows": self.rows.total(),
            "kept": self.kept,
            "copies": self.copies,
            "duplicates": self.left_out.counts[REPEATED],
            "near_duplicates": {
                "groups": self.groups,
                "rows": self.rows_in_groups,
                "largest": self.largest_group,
                "dropped": self.left_out.counts[NEARLY_REPEATED],
            },
            "rejected_fraction": round(self.rejected_fraction, 6),
            "rejected": dict(sorted(self.rejected.counts.items())),
            "repaired": dict(sorted(self.repaired.counts.items())),
            "left_out": {reason: n for reason in (BEYOND, UNDRAWN) if (n := self.left_out.counts[reason])},
            "ignored_fields": dict(sorted(self.ignored.most_common(IGNORED_SHOWN))),
            "sources": {name: {"rows": self.rows[name], "kept": self.kept_by_source[name]} for name in names},
            "tasks": dict(sorted(self.kept_by_task.items())),
            **({"judged": dict(sorted(self.judged.items()))} if self.judged else {}),
        }

    def judge(self, max_rejected_fraction: float) -> None:
        """Raise one DataError when too few rows can be used, or when a split that later stages need is empty."""
        rows, rejected = self.rows.total(), self.rejected.counts.total()
        empty = [name for name in SPLITS if not self.kept[name]]
        if not rows:
            hint = "blank lines, a header or an empty list are all that is there; add rows, a few hundred at least"
            raise DataError("holds no rows", where=self.where, hint=hint)
        if rejected == rows or self.rejected_fraction > max_rejected_fraction:
            limit = f"{self.rejected_fraction:.1%}, and max_rejected_fraction is {max_rejected_fraction:.1%}"
            self._fail(
                f"{rejected} of {rows} rows cannot be used ({limit})",
                f"correct these rows, or raise max_rejected_fraction; {SHAPES_HINT}",
            )
        if empty:
            self._fail(f"{self._shortage()} leave nothing for {' and '.join(empty)}", self._way_out())

    def _shortage(self) -> str:
        different = sum(self.kept.values()) - self.copies + self.left_out.counts[UNDRAWN]
        return f"too few rows: {different} different of {self.rows.total()}"

    def _way_out(self) -> str:
        hint = "add rows, a few hundred at least; or raise the fractions of the empty splits in params.yaml"
        if self.largest_group <= sum(self.kept.values()) / 2:
            return hint
        return (
            f"{self.largest_group} of them are near duplicates and stay in one split: raise near_duplicate_threshold "
            f"if they are not; or {hint}"
        )

    def _fail(self, problem: str, hint: str) -> None:
        name_files = sum(len(source.files) for source in self.sources) > 1
        raise DataError(
            "\n  ".join([problem, *self.rejected.summary(name_files=name_files)]), where=self.where, hint=hint
        )
