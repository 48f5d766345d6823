"""Rows that say what another one says: the same, or nearly. A row is an index into the columns of all rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ollamake.data.near import groups, near_pairs

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]
NO_PAIRS: Rows = np.empty((0, 2), np.int64)
# An odd number near 2⁶⁴ / φ: multiplying by it spreads small numbers over all 64 bits (Knuth, volume 3, section 6.4).
SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Near:
    """What near duplicates came to. `places` are those of all rows; a group shares the place of one of its rows."""

    places: Hashes
    dropped: Rows  # (rows, 2): a row that is dropped, and an earlier one with the same answer
    tied: Rows  # (pairs, 2): of two prompts that stay, the first row of the later and of the earlier one
    sizes: Rows  # of the groups, in rows that stay

    @classmethod
    def none(cls, places: Hashes) -> "Near":
        """Return what there is to say when near duplicates are not looked for."""
        return cls(places, NO_PAIRS, NO_PAIRS, NO_PAIRS[:, 0])


@dataclass(frozen=True)
class Prompts:
    """The different prompts of some rows: the first row of each, ascending, and each row's index into these."""

    rows: Rows
    firsts: Rows
    index: Rows

    @classmethod
    def of(cls, rows: Rows, places: Hashes) -> "Prompts":
        """Return the prompts of `rows`, told apart by their place; the rows are ascending."""
        _, first, index = np.unique(places[rows], return_index=True, return_inverse=True)
        by_row = first.argsort()
        rank = np.empty_like(by_row)
        rank[by_row] = np.arange(len(by_row))
        return cls(rows, rows[first[by_row]], rank[index])


def repeats(places: Hashes, answers: Hashes) -> Rows:
    """Return (rows, 2): each row with the prompt and the answer of an earlier one, and the first one with them."""
    order = np.lexsort((answers, places))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(places[order]) != 0) | (np.diff(answers[order]) != 0)
    firsts = order[new][new.cumsum() - 1]
    found = np.stack([order[~new], firsts[~new]], axis=1)
    return found[found[:, 0].argsort()]


def tie(rows: Rows, places: Hashes, answers: Hashes, contents: Hashes, sketches: Path, threshold: float) -> Near:
    """Return what to do about the near duplicates among `rows`, which are ascending and hold no two that are equal.

    A group is what pairs of near duplicates connect, and lies where its row with the smallest content hash does. Only
    prompts are compared, each once, however many answers it has.
    """
    prompts = Prompts.of(rows, places)
    stays, dropped, pairs = _without_same_answers(prompts, answers[rows], sketches, threshold)
    in_group = np.zeros(len(prompts.firsts), bool)
    in_group[pairs] = True
    members = stays & in_group[prompts.index]
    tied, group = rows[members], groups(len(prompts.firsts), pairs)[prompts.index[members]]
    order = np.lexsort((contents[tied], group))
    tied = tied[order]
    _, leaders, sizes = np.unique(group[order], return_index=True, return_counts=True)
    common = places.copy()
    common[tied] = places[tied[leaders]].repeat(sizes)
    return Near(common, dropped, prompts.firsts[pairs[:, ::-1]], sizes)


def _without_same_answers(
    prompts: Prompts, answers: Hashes, sketches: Path, threshold: float
) -> tuple[NDArray[np.bool], Rows, Rows]:
    """Return which of the rows stay, (rows, 2): the others, each with one like it, and the pairs of prompts that stay.

    What a dropped row held together is a group no longer, unless it is alike itself: groups that lost a row are looked
    through again, so that the same rows without the dropped ones come to the same groups.
    """
    stays = np.ones(len(prompts.rows), bool)
    dropped, settled = [NO_PAIRS], [NO_PAIRS]
    again = np.arange(len(prompts.firsts))
    while len(again):
        pairs = prompts.firsts.searchsorted(near_pairs(sketches, prompts.firsts[again], threshold))
        gone = _drop(_same_answers(prompts.index, stays, pairs, answers))
        stays[gone[:, 0]] = False
        dropped.append(prompts.rows[gone])
        group = groups(len(prompts.firsts), pairs)
        lost_one = np.zeros(len(group), bool)
        lost_one[group[prompts.index[gone[:, 0]]]] = True
        settled.append(pairs[~lost_one[group[pairs[:, 0]]]])
        inhabited = np.bincount(prompts.index[stays], minlength=len(group)) > 0
        again = np.flatnonzero(lost_one[group] & inhabited)
    return stays, _sorted(np.concatenate(dropped)), _sorted(np.concatenate(settled))


def _same_answers(index: Rows, stays: NDArray[np.bool], pairs: Rows, answers: Hashes) -> Rows:
    """Return (rows, 2): every two rows whose prompts are a pair and whose answers are equal, the later one first."""
    in_pair = np.zeros(int(index.max(initial=-1)) + 1, bool)
    in_pair[pairs] = True
    rows = np.flatnonzero(stays & in_pair[index])  # in what follows, a row is a place in this list
    index, answers = index[rows], answers[rows]
    keys = _key(index, answers)
    by_key, by_prompt = keys.argsort(), index.argsort(kind="stable")
    # For every row of a pair's second prompt: is there one of its first prompt with the same answer?
    starts, ends = (index[by_prompt].searchsorted(pairs[:, 1], side) for side in ("left", "right"))
    counts = ends - starts
    within = np.arange(counts.sum()) - (counts.cumsum() - counts).repeat(counts)
    others = by_prompt[starts.repeat(counts) + within]
    wanted = _key(pairs[:, 0].repeat(counts), answers[others])
    at = by_key[keys.searchsorted(wanted, sorter=by_key).clip(max=len(keys) - 1)]
    equal = keys[at] == wanted
    return np.sort(rows[np.stack([at[equal], others[equal]], axis=1)], axis=1)[:, ::-1]


def _key(prompt: Rows, answers: Hashes) -> Hashes:
    return answers ^ (prompt.astype(np.uint64) * SPREAD)


def _drop(pairs: Rows) -> Rows:
    """Return the rows to drop, each with one like it: in their order, a row goes when one like it has stayed."""
    gone: dict[int, int] = {}
    for later, earlier in _sorted(pairs).tolist():
        if earlier not in gone:
            gone.setdefault(later, earlier)
    return np.array(list(gone.items()), dtype=np.int64).reshape(-1, 2)


def _sorted(pairs: Rows) -> Rows:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
