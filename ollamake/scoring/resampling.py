"""How sure the scores are: bootstrap intervals, and how likely two models differ by chance alone.

Everything is drawn with one seed and in one way for a number of items, so that two models meet the same resamples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ollamake.scoring.aggregate import Statistics

RESAMPLES = 5000
SEED = 1
TAILS = (0.025, 0.975)  # of a 95 % interval
CHUNK = 1 << 22  # draws held at once: 32 MB
NOISE = 1e-9  # two ways to sum the same numbers differ by a smaller share


class Interval(NamedTuple):
    """Between which values 95 % of the resamples lie."""

    low: float
    high: float


class Difference(NamedTuple):
    """What one model has more than another of a score; `p` is how likely so much comes by chance."""

    value: float
    low: float
    high: float
    p: float


def intervals(items: Statistics) -> dict[str, Interval]:
    """Return the percentile bootstrap interval of every score (Efron and Tibshirani 1993, chapter 13)."""
    return {name: _interval(values) for name, values in items.scores_of(_resampled(items)).items()}


def differences(one: Statistics, other: Statistics) -> dict[str, Difference]:
    """Return `one` minus `other` for every score that both have, of the same items in the same order.

    The interval is the paired bootstrap's (Koehn 2004). `p` is two-sided and by approximate randomization, which
    finds fewer differences where there are none (Riezler and Maxwell 2005).
    """
    one, other = one.limited_to(other.columns), other.limited_to(one.columns)
    value, drawn, swapped = (
        _minus(one.scores_of(ours), other.scores_of(theirs))
        for ours, theirs in ((one.total, other.total), (_resampled(one), _resampled(other)), _swapped(one, other))
    )
    return {
        name: Difference(
            round(float(value[name][0]), 6), *_interval(drawn[name]), _share(np.abs(swapped[name]), abs(value[name]))
        )
        for name in value
    }


def _minus(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: ours[name] - theirs[name] for name in ours}


def _share(by_chance: np.ndarray, found: np.ndarray) -> float:
    # The real answers are one way to toss the coins, too (Noreen 1989): p is never 0.
    return round((1 + int((by_chance >= found * (1 - NOISE)).sum())) / (1 + RESAMPLES), 6)


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, TAILS)
    return Interval(round(float(low), 6), round(float(high), 6))


def _resampled(items: Statistics) -> np.ndarray:
    """Return the sums of the columns over resamples with replacement, shape (RESAMPLES, columns)."""
    count = len(items.matrix)
    generator = np.random.default_rng(SEED)

    def times_drawn(resamples: int) -> np.ndarray:
        drawn = generator.integers(count, size=(resamples, count))
        return np.stack([np.bincount(row, minlength=count) for row in drawn])

    return np.vstack([times_drawn(resamples) @ items.matrix for resamples in _chunks(count)])


def _swapped(one: Statistics, other: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of both models after the toss of a coin decided, for each item, who gave which answer."""
    count, generator = len(one.matrix), np.random.default_rng(SEED)
    apart = other.matrix - one.matrix
    moved = np.vstack([generator.integers(2, size=(tosses, count)) @ apart for tosses in _chunks(count)])
    return one.total + moved, other.total - moved


def _chunks(count: int) -> Iterator[int]:
    """Yield how many resamples of `count` items to draw at a time."""
    rows = max(1, CHUNK // count)
    for start in range(0, RESAMPLES, rows):
        yield min(rows, RESAMPLES - start)
