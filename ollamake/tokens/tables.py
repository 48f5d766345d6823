"""Tokenized splits as Parquet files, and the counts that describe them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ollamake.files import atomic_write
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.encode import Encoded, Encoder, UnencodableError

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "prompt_length": pa.int32(),
        "prompt": pa.string(),
        "reference": pa.string(),
    }
)
LENGTH_BIN_TOKENS = 8


@dataclass
class Split:
    """The rows of one split, and why others were left out: how many for each reason, and the first id of each."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def dropped_fraction(self) -> float:
        """The share of the conversations that was left out."""
        return self.dropped.total() / max(self.dropped.total() + len(self.rows), 1)

    def line(self, name: str) -> str:
        """Return what became of the conversations, for a person to read."""
        reasons = [f"{count} × {why} (such as {self.examples[why]})" for why, count in self.dropped.most_common()]
        return f"{name}: {len(self.rows)} of {len(self.rows) + self.dropped.total()} conversations" + "".join(
            f", {reason}" for reason in reasons
        )


def tokenize(records: Sequence[dict[str, Any]], encoder: Encoder) -> Split:
    """Encode every record `{id, messages}`; what cannot be encoded is counted by its reason."""
    split = Split()
    for record in records:
        try:
            split.rows.append(_row(record, encoder.encode(record["messages"])))
        except UnencodableError as reason:
            split.dropped[str(reason)] += 1
            split.examples.setdefault(str(reason), record["id"])
    return split


def _row(record: dict[str, Any], encoded: Encoded) -> dict[str, Any]:
    messages = record["messages"]
    asked = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    return {
        "id": record["id"],
        "input_ids": encoded.input_ids,
        "labels": encoded.labels,
        "prompt_length": encoded.prompt_length,
        "prompt": asked,
        "reference": messages[-1]["content"],
    }


def write(path: Path, split: Split) -> None:
    """Write the rows with the columns of SCHEMA."""
    with atomic_write(path) as partial:
        pq.write_table(pa.Table.from_pylist(split.rows, schema=SCHEMA), partial)


def counts(split: Split) -> dict[str, Any]:
    """Return rows, tokens, the share of tokens that carry loss, lengths, and what was dropped."""
    lengths = sorted(len(row["input_ids"]) for row in split.rows)
    supervised = sum(label != IGNORE_INDEX for row in split.rows for label in row["labels"])
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "supervised_tokens": supervised,
        "supervised_fraction": round(supervised / max(sum(lengths), 1), 4),
        "length_p50": lengths[len(lengths) // 2] if lengths else 0,
        "length_p95": lengths[len(lengths) * 95 // 100] if lengths else 0,
        "length_max": lengths[-1] if lengths else 0,
        "dropped": dict(sorted(split.dropped.items())),
    }


def length_histogram(split: Split) -> list[tuple[int, int]]:
    """Return (tokens, conversations) pairs, one for each bin from the shortest to the longest, empty ones too."""
    bins = Counter(len(row["input_ids"]) // LENGTH_BIN_TOKENS for row in split.rows)
    return [(index * LENGTH_BIN_TOKENS, bins[index]) for index in range(min(bins), max(bins) + 1)]
