"""What became of the records of one split, in numbers that do not grow with its rows."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.row import DOWN, Row

NAMED = 10  # so many ids are listed where a row is refused
BIN_TOKENS, MOST_BINS = 8, 64


@dataclass
class Tally:
    """Counts of rows by length in tokens, and of what was left out by reason, with the first id of each.

    `truncated` counts rows made to fit, `split` and `turn_by_turn` the texts and conversations that gave several
    rows, `unlearnable` the rows in which no token carries loss, `unlearnable_ids` the first of them.
    """

    lengths: Counter[int] = field(default_factory=Counter)
    supervised_tokens: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    truncated: int = 0
    split: int = 0
    turn_by_turn: int = 0
    unlearnable: int = 0
    unlearnable_ids: list[str] = field(default_factory=list)
    judged: Counter[str] = field(default_factory=Counter)  # rejected_tokens, thumbs_up and thumbs_down

    def add(self, row_id: str, row: Row | str) -> None:
        """Count a row, or the reason why there is none."""
        if isinstance(row, str):
            self.dropped[row] += 1
            self.examples.setdefault(row, row_id)
            return
        self.lengths[len(row.input_ids)] += 1
        self.truncated += row.truncated
        if row.rejected_ids is not None:
            self.judged["rejected_tokens"] += len(row.rejected_ids)
        if row.desirable is not None:
            self.judged["thumbs_up" if row.desirable else "thumbs_down"] += 1
        # The first token is never predicted, so a label there counts for nothing.
        supervised = len(row.labels) - row.labels.count(IGNORE_INDEX)
        self.supervised_tokens += supervised
        if not supervised or (supervised == 1 and row.labels[0] != IGNORE_INDEX):
            self.unlearnable += 1
            self.unlearnable_ids = [*self.unlearnable_ids, row_id][:NAMED]

    def merge(self, later: "Tally") -> None:
        """Add the counts of rows that come after these."""
        self.lengths += later.lengths
        self.dropped += later.dropped
        self.judged += later.judged
        self.examples = later.examples | self.examples
        self.supervised_tokens += later.supervised_tokens
        self.truncated += later.truncated
        self.split += later.split
        self.turn_by_turn += later.turn_by_turn
        self.unlearnable += later.unlearnable
        self.unlearnable_ids = [*self.unlearnable_ids, *later.unlearnable_ids][:NAMED]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.lengths.total()

    @property
    def dropped_fraction(self) -> float:
        """The share of the rows that could not be used; a thumb down says that a row is not to be."""
        unusable = self.dropped.total() - self.dropped[DOWN]
        return unusable / max(unusable + self.rows, 1)

    def line(self, name: str) -> str:
        """Return what became of the records, for a person to read."""
        dropped = [f"{count} × {why} (such as {self.examples[why]})" for why, count in self.dropped.most_common()]
        changed = {
            "cut to max_length": self.truncated,
            "texts in several rows": self.split,
            "conversations turn by turn": self.turn_by_turn,
        }
        parts = [*dropped, *(f"{count} {what}" for what, count in changed.items() if count)]
        return ", ".join([f"{name}: {self.rows} of {self.rows + self.dropped.total()} rows", *parts])

    def metrics(self) -> dict[str, Any]:
        """Return rows, tokens, the share of tokens that carry loss, lengths, and what was changed and dropped."""
        tokens = sum(length * count for length, count in self.lengths.items())
        return {
            "rows": self.rows,
            "tokens": tokens,
            "supervised_tokens": self.supervised_tokens,
            "supervised_fraction": round(self.supervised_tokens / max(tokens, 1), 4),
            "length_p50": self._percentile(50),
            "length_p95": self._percentile(95),
            "length_max": max(self.lengths, default=0),
            "truncated": self.truncated,
            "split": self.split,
            "turn_by_turn": self.turn_by_turn,
            **dict(sorted(self.judged.items())),
            "dropped": dict(sorted(self.dropped.items())),
        }

    def _percentile(self, percent: int) -> int:
        """Return the length of the row that so many percent of the rows, in order of length, stand before."""
        lengths = sorted(self.lengths)
        up_to = accumulate(self.lengths[length] for length in lengths)
        before = self.rows * percent // 100
        return next((length for length, count in zip(lengths, up_to, strict=True) if count > before), 0)

    def length_histogram(self, max_length: int) -> list[tuple[int, int]]:
        """Return (tokens, rows) pairs, one for each bin from the shortest to the longest, empty ones too.

        A bin is 8 tokens wide, or wider where `max_length` would take more than 64 of them.
        """
        width = BIN_TOKENS * -(-max_length // (BIN_TOKENS * MOST_BINS))
        bins: Counter[int] = Counter()
        for length, count in self.lengths.items():
            bins[length // width] += count
        return [(index * width, bins[index]) for index in range(min(bins), max(bins) + 1)]
