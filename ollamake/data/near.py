"""Near duplicates: rows whose prompts share most of their phrases, found without comparing all with all."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from ollamake.data.signatures import BASE, HALF, MIXER, PERMUTATIONS, U64, Integers, sketch
from ollamake.files import read_at

__all__ = ["PERMUTATIONS", "groups", "near_pairs", "sketch"]

SIGNATURE_BYTES = PERMUTATIONS * 4
# A wrong candidate costs a comparison, a missed one a leak between splits. With these weights datasketch chooses bands
# that find at least 0.90 of the pairs at any threshold, and 0.99 of those 0.1 above it.
BAND_WEIGHTS = (0.03, 0.97)
# In groups of more rows than this, not every pair is looked for: the cost would grow with the square.
CROWD = 16
# How much is worked on at a time, for memory's sake: 4 MB of signatures, 2 MB of keys, 2 MB of signatures.
FILE_ROWS, SORTED_ROWS, COMPARED_PAIRS = 1 << 14, 1 << 18, 1 << 12


def near_pairs(path: Path, rows: Integers, threshold: float) -> Integers:
    """Return the near duplicates among `rows` as row numbers i < j, sorted by j, then i: (pairs, 2).

    `path` holds one signature for every row of the data, `rows` (ascending) are those to compare; a pair counts when
    at least the share `threshold` of its signature values is equal. Of a group of more than CROWD rows, only some
    pairs are returned, enough to hold it together. Memory: about 30 bytes for each row, 40 for each pair.
    """
    found = np.empty(0, np.uint64)
    leaders = np.arange(len(rows))
    bands, values = _bands(threshold)
    with path.open("rb", buffering=0) as signatures:
        for band in range(bands if len(rows) else 0):
            crowded = np.bincount(leaders) > CROWD
            new = [np.empty(0, np.uint64)]
            for candidates in _candidates(_sorted_keys(path, rows, slice(band * values, (band + 1) * values))):
                i, j = _unpack(candidates)
                useful = (leaders[i] != leaders[j]) | ~crowded[leaders[i]]
                new.extend(_verified(signatures.fileno(), rows, _without(candidates[useful], found), threshold))
            _connect(leaders, *_unpack(np.concatenate(new)))
            found = np.sort(np.concatenate([found, *new]))
    pairs = np.empty((len(found), 2), np.int64)
    for column, places in enumerate(_unpack(found)):
        pairs[:, column] = rows[places]
    return pairs


def groups(count: int, pairs: Integers) -> Integers:
    """Return, for each of `count` rows, the smallest row that a chain of pairs connects it with: (count,)."""
    leaders = np.arange(count)
    _connect(leaders, pairs[:, 0], pairs[:, 1])
    return leaders


def _connect(leaders: Integers, firsts: Integers, seconds: Integers) -> None:
    """Join the groups of the two rows of each pair; `leaders` holds the smallest row of the group of each row.

    A leader that meets smaller ones follows the smallest; then every row follows its leader's leader to the end.
    """
    while True:
        firsts, seconds = leaders[firsts], leaders[seconds]
        apart = firsts != seconds
        firsts, seconds = firsts[apart], seconds[apart]
        if not len(firsts):
            return
        np.minimum.at(leaders, np.maximum(firsts, seconds), np.minimum(firsts, seconds))
        while not np.array_equal(leaders, followed := leaders[leaders]):
            leaders[:] = followed


def _bands(threshold: float) -> tuple[int, int]:
    """Return how many bands of how many signature values to compare."""
    from datasketch import MinHashLSH

    # Above 63/64 all values must be equal, and datasketch, which wants two bands at least, finds no choice of them.
    index = MinHashLSH(min(threshold, 1 - 1 / PERMUTATIONS), PERMUTATIONS, BAND_WEIGHTS)
    return index.b, index.r


def _sorted_keys(path: Path, rows: Integers, band: slice) -> U64:
    """Return a key for each of `rows`, sorted: its place among them in the lowest bits, a hash of its band above.

    One array, sorted in place, takes half the memory and time of keys beside the order that sorts them. Equal hashes
    of unequal bands are rare, and harmless: candidates are verified.
    """
    keys, mask = np.empty(len(rows), np.uint64), _place_mask(len(rows))
    limits = np.arange(rows[0], rows[-1] + FILE_ROWS + 1, FILE_ROWS)
    for first, (low, high) in zip(limits.tolist(), pairwise(np.searchsorted(rows, limits)), strict=False):
        values = np.fromfile(path, np.uint32, FILE_ROWS * PERMUTATIONS, offset=first * SIGNATURE_BYTES)
        block = values.reshape(-1, PERMUTATIONS)[rows[low:high] - first, band]
        hashes = np.zeros(high - low, np.uint64)
        for column in block.T:
            hashes = (hashes ^ column) * np.uint64(BASE)
            hashes ^= hashes >> HALF
        places = np.arange(low, high, dtype=np.uint64)
        keys[low:high] = hashes * np.uint64(MIXER) & ~mask | places
    keys.sort()
    return keys


def _place_mask(count: int) -> np.uint64:
    """Return the lowest bits of a key, as many as the place of one of `count` rows needs."""
    return np.uint64((1 << count.bit_length()) - 1)


def _candidates(keys: U64) -> Iterator[U64]:
    """Yield the pairs to compare, packed, from runs of equal hashes; their number grows with the rows alone."""
    run_start, mask = 0, _place_mask(len(keys))
    for low in range(0, len(keys), SORTED_ROWS):
        hashes = keys[low : low + SORTED_ROWS] & ~mask
        before = keys[low - 1] & ~mask if low else ~hashes[0]
        places = np.arange(low, low + len(hashes))
        run_starts = np.where(hashes == np.append(before, hashes[:-1]), run_start, places)
        np.maximum.accumulate(run_starts, out=run_starts)
        run_start = int(run_starts[-1])
        continued = places > run_starts
        firsts, seconds = _comparisons(run_starts[continued], places[continued])
        yield (keys[seconds] & mask) << HALF | (keys[firsts] & mask)


def _comparisons(run_starts: Integers, places: Integers) -> tuple[Integers, Integers]:
    """Return places to compare: the first CROWD of a run with all before them, others with the first and the last."""
    firsts, seconds = [], []
    offsets = places - run_starts
    for back in range(1, CROWD):
        chosen = places[(offsets >= back) & (offsets < CROWD)]
        firsts.append(chosen - back)
        seconds.append(chosen)
    late = offsets >= CROWD
    firsts += [run_starts[late], places[late] - 1]
    seconds += [places[late]] * 2
    return np.concatenate(firsts), np.concatenate(seconds)


def _verified(descriptor: int, rows: Integers, candidates: U64, threshold: float) -> Iterator[U64]:
    """Yield those of the candidates whose signatures agree in the share `threshold` of their values.

    The signatures are read, not mapped: mapped pages around each would count as memory of this process.
    """
    for low in range(0, len(candidates), COMPARED_PAIRS):
        block = candidates[low : low + COMPARED_PAIRS]
        involved, places = np.unique(np.concatenate(_unpack(block)), return_inverse=True)
        read = [read_at(descriptor, SIGNATURE_BYTES, row * SIGNATURE_BYTES) for row in rows[involved].tolist()]
        signatures = np.frombuffer(b"".join(read), np.uint32).reshape(-1, PERMUTATIONS)
        equal = signatures[places[: len(block)]] == signatures[places[len(block) :]]
        yield block[equal.sum(axis=1) >= threshold * PERMUTATIONS]


def _unpack(pairs: U64) -> tuple[Integers, Integers]:
    """Return i and j of pairs packed so that sorting them sorts by j, then i."""
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), (pairs >> HALF).astype(np.int64)


def _without(pairs: U64, found: U64) -> U64:
    """Return the pairs that are not among the found ones, which are sorted."""
    places = np.searchsorted(found, pairs)
    known = np.zeros(len(pairs), bool)
    inside = places < len(found)
    known[inside] = found[places[inside]] == pairs[inside]
    return pairs[~known]
