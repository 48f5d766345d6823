"""Whether the score depends on the length: both models over groups of references of similar length."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ollamake.files import atomic_write
from ollamake.scoring.aggregate import Row, Statistics
from ollamake.scoring.resampling import intervals

GROUPS = 5
SCORE = "rouge_l"


def write_lengths(path: Path, models: Mapping[str, Sequence[Row]]) -> None:
    """Write rows of the mean length of a group's references in tokens, model, ROUGE-L with its interval, and items.

    `models` are the rows of each model by its name, of the same items in the same order.
    """
    groups = _groups([row["reference_tokens"] for row in next(iter(models.values()))])
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["reference_tokens", "model", "score", "low", "high", "items"])
        for name, rows in models.items():
            for places in groups:
                group = [rows[place] for place in places]
                items = Statistics.of(group)
                length = np.mean([row["reference_tokens"] for row in group]).round(1)
                lines.writerow([length, name, items.scores()[SCORE], *intervals(items)[SCORE], len(group)])


def _groups(lengths: Sequence[int]) -> list[list[int]]:
    """Return the places of the lengths in at most GROUPS groups of about as many, equal lengths together."""
    bounds = np.unique(np.quantile(lengths, np.arange(1, GROUPS) / GROUPS))
    group = np.searchsorted(bounds, lengths)
    return [np.flatnonzero(group == number).tolist() for number in np.unique(group)]
