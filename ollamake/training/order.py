"""In which order training goes through its examples: a function of the seed and the epoch, and of nothing else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Batches sorted together, as in transformers' own grouping: more of them waste less, fewer leave more to chance.
POOL_BATCHES = 50


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the places of `count` examples in the random order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def grouped_by_length(lengths: NDArray[Any], batch: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the places of all examples for one epoch, so that each `batch` in turn holds similar lengths.

    `batch` counts the examples of an optimizer step, on all devices, so that a step holds the same ones however it is
    shared out. The batch with the longest comes first: memory that does not suffice runs out at once. An incomplete
    batch comes last. transformers' own grouping is not resumable: its generator goes on from epoch to epoch.
    """
    random = np.random.default_rng([seed, epoch])
    places = random.permutation(len(lengths))
    # The last pool takes the remainder too: one smaller than a batch would leave its longest example to the end.
    size = POOL_BATCHES * batch
    for pool in np.split(places, range(size, len(places) - size + 1, size)):
        pool[:] = pool[np.argsort(-lengths[pool], kind="stable")]
    whole = len(places) // batch
    batches, rest = places[: whole * batch].reshape(whole, batch), places[whole * batch :]
    turns = random.permutation(whole)
    if whole:
        longest = lengths[batches[:, 0]].argmax()
        turns = np.concatenate([[longest], turns[turns != longest]])
    return np.concatenate([batches[turns].ravel(), rest])
