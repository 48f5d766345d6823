"""How much of each source is taken, and how often each row counts: both by the content of the rows alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ollamake.data.duplicates import SPREAD, Hashes, Rows


def beyond(limit: int, rows: Rows, contents: Hashes) -> Rows:
    """Return those of `rows` that are not among the `limit` with the smallest content hash; 0 = no limit."""
    return rows[contents[rows].argsort(kind="stable")[limit:]] if limit else rows[:0]


def copies(contents: Hashes, weights: NDArray[Any]) -> NDArray[np.int64]:
    """Return how often each row is written: its weight, rounded up for as many rows as the fraction says.

    Which ones is drawn by the content hash, mixed anew, for `beyond` leaves only rows with small ones.
    """
    whole = np.floor(weights)
    times: NDArray[np.int64] = (whole + (contents * SPREAD / 2.0**64 < weights - whole)).astype(np.int64)
    return times
