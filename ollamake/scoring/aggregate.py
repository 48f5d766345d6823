"""The scores of many items, each made of sums over them, so that a resample of the items costs no scoring of texts."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ollamake.scoring.names import MEASURES

Row = Mapping[str, Any]
Sums = Mapping[str, np.ndarray]  # of each column, shape (resamples,); of those in CORPUS, shape (resamples, columns)

MAX_LOSS = 700.0  # its exponential is still a number
COUNTED = ("nats", "tokens", "bytes", "new_tokens", "reference_tokens", "stopped")


@dataclass(frozen=True)
class Statistics:
    """The items of one model, a row each: the sums of the columns are all that its scores need."""

    matrix: np.ndarray
    columns: Mapping[str, slice]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Statistics":
        """Read the rows of an items.jsonl; a score that some of them lack is left out."""
        means = [
            name for name in rows[0]["scores"] if name not in CORPUS and all(name in row["scores"] for row in rows)
        ]
        parts = {"items": [1.0] * len(rows), **{name: [row[name] for row in rows] for name in COUNTED}}
        parts |= {name: [row["scores"][name] for row in rows] for name in means}
        parts |= {name: [row["statistics"][name] for row in rows] for name in CORPUS}
        arrays = {name: np.array(values, dtype=np.float64).reshape(len(rows), -1) for name, values in parts.items()}
        return cls(np.hstack(list(arrays.values())), _spans(arrays))

    @property
    def names(self) -> list[str]:
        """The scores that can be made, the user's own last."""
        own = [name for name in self.columns if name not in {"items", *COUNTED, *MEASURES}]
        return [name for name in MEASURES if name in FORMULAS or name in self.columns] + own

    def limited_to(self, names: Container[str]) -> "Statistics":
        """Return these items with the columns of those names only."""
        kept = {name: self.matrix[:, span] for name, span in self.columns.items() if name in names}
        return Statistics(np.hstack(list(kept.values())), _spans(kept))

    @property
    def total(self) -> np.ndarray:
        """The sums over all items, shape (1, columns)."""
        return np.asarray(self.matrix.sum(axis=0, keepdims=True))

    def scores(self) -> dict[str, float]:
        """Return every score of all the items."""
        return {name: round(float(values[0]), 6) for name, values in self.scores_of(self.total).items()}

    def scores_of(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Return every score, shape (resamples,), of sums of the columns, shape (resamples, columns)."""
        named = {name: sums[:, span] if name in CORPUS else sums[:, span.start] for name, span in self.columns.items()}
        return {name: _formula(name)(named) for name in self.names}


def _spans(arrays: Mapping[str, np.ndarray]) -> dict[str, slice]:
    """Return where the columns of each array lie when they stand side by side."""
    ends = np.cumsum([array.shape[1] for array in arrays.values()]).tolist()
    return {name: slice(end - array.shape[1], end) for end, (name, array) in zip(ends, arrays.items(), strict=True)}


def _formula(name: str) -> Callable[[Sums], np.ndarray]:
    return FORMULAS.get(name, lambda sums: sums[name] / sums["items"])


def bleu(sums: np.ndarray) -> np.ndarray:
    """Return corpus BLEU-4 with exponential smoothing, as sacrebleu computes it (Chen and Cherry 2014, method 3).

    The columns are the lengths of answers and references, the n-grams found in both, and those of the answers.
    """
    length, reference, found, total = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:10]
    possible = found.any(axis=1) & total.all(axis=1)
    # The first order that nothing matches counts half a match, the next one a quarter.
    smoothed = np.where(found == 0, 0.5 ** np.cumsum(found == 0, axis=1), found)
    precisions = np.log(smoothed / np.where(total == 0, 1, total)).mean(axis=1)
    penalty = np.minimum(0, 1 - reference / np.where(length == 0, 1, length))
    return np.where(possible, np.exp(precisions + penalty), 0.0)


def chrf(sums: np.ndarray) -> np.ndarray:
    """Return corpus chrF2 as sacrebleu computes it (Popović 2015).

    The columns are, for runs of 1 to 6 characters, how many the answers have, the references, and both.
    """
    answer, reference, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    orders = ((answer > 0) & (reference > 0)).sum(axis=1)
    precision, recall = (
        (both / np.where(counted == 0, 1, counted)).sum(axis=1) / np.maximum(orders, 1)
        for counted in (answer, reference)
    )
    weighted = 4 * precision + recall
    return np.asarray(5 * precision * recall / np.where(weighted == 0, 1, weighted))


CORPUS = ("bleu", "chrf")
FORMULAS: Mapping[str, Callable[[Sums], np.ndarray]] = {
    "loss": lambda sums: sums["nats"] / sums["tokens"],
    "perplexity": lambda sums: np.exp(np.minimum(sums["nats"] / sums["tokens"], MAX_LOSS)),
    # Answers may be empty, and then have an end, which costs nats, but no bytes.
    "bits_per_byte": lambda sums: sums["nats"] / (math.log(2) * np.maximum(sums["bytes"], 1)),
    "bleu": lambda sums: bleu(sums["bleu"]),
    "chrf": lambda sums: chrf(sums["chrf"]),
    "stopped_fraction": lambda sums: sums["stopped"] / sums["items"],
    "mean_new_tokens": lambda sums: sums["new_tokens"] / sums["items"],
    "length_ratio": lambda sums: sums["new_tokens"] / np.maximum(sums["reference_tokens"], 1),
}
