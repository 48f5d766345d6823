"""Every row of a source into its split, or into the findings."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from ollamake.data.conversations import clean, conversation, ignored, text
from ollamake.data.findings import Findings, Rejected
from ollamake.data.rows import Row
from ollamake.data.split import Fractions, content_hash, split_of

SPLITS = ("train", "val", "test", "probe")
IGNORED_SHOWN = 10


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def rejected(self) -> int:
        """How many rows could not be used."""
        return self.findings.counts.total()

    @property
    def usable(self) -> int:
        """How many rows could be used, duplicates included."""
        return self.rows - self.rejected

    @property
    def rejected_fraction(self) -> float:
        """The share of the rows that could not be used."""
        return self.rejected / self.rows if self.rows else 0.0

    def __str__(self) -> str:
        kept = ", ".join(f"{self.kept[name]} {name}" for name in SPLITS)
        return f"{self.rows} rows: {kept}; {self.duplicates} duplicates, {self.rejected} rejected"

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for metrics/prepare.json."""
        return {
            "rows": self.rows,
            "kept": {name: self.kept[name] for name in SPLITS},
            "duplicates": self.duplicates,
            "rejected_fraction": round(self.rejected_fraction, 6),
            "rejected": dict(sorted(self.findings.counts.items())),
            "repaired": dict(sorted(self.repaired.items())),
            "ignored_fields": dict(sorted(self.ignored.most_common(IGNORED_SHOWN))),
        }


def sort_rows(
    rows: Iterable[tuple[int, Row | Rejected]], splits: Mapping[str, TextIO], fractions: Fractions, seed: int
) -> Tally:
    """Write each usable row to the stream of its split, in the order they come, and tell what became of all.

    Only the hash of each conversation is kept in memory, to know an exact duplicate by.
    """
    tally, seen = Tally(), set[bytes]()
    for line, row in rows:
        tally.rows += 1
        try:
            record, repairs, unused = _record(row)
        except Rejected as verdict:
            tally.findings.add(line, verdict)
            continue
        digest = content_hash(record["messages"])
        if digest in seen:
            tally.duplicates += 1
            continue
        seen.add(digest)
        tally.repaired.update(repairs)
        tally.ignored.update(unused)
        name = split_of(record["messages"], fractions, seed)
        tally.kept[name] += 1
        splits[name].write(json.dumps({"id": digest[:8].hex(), **record}, ensure_ascii=False) + "\n")
    return tally


def _record(row: Row | Rejected) -> tuple[dict[str, Any], set[str], list[str]]:
    if isinstance(row, Rejected):
        raise row
    messages, repairs = clean(conversation(row))
    record: dict[str, Any] = {"messages": messages}
    if isinstance(row.get("source"), str):
        record["source"] = text(row, "source")
    return record, repairs, ignored(row)
