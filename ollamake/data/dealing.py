"""The second pass: what becomes of each usable row. By what the rows say, not by their order or number."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ollamake.data.columns import view
from ollamake.data.duplicates import Hashes, Near, Rows, repeats, tie
from ollamake.data.gathering import Gathered
from ollamake.data.mixture import beyond, copies
from ollamake.data.split import SPLITS, Fractions, splits_of

# What becomes of a row: one of SPLITS, or why it is in none.
TRAIN = SPLITS.index("train")
REPEATED, NEARLY_REPEATED, BEYOND, UNDRAWN = range(len(SPLITS), len(SPLITS) + 4)


@dataclass(frozen=True)
class Rules:
    """By what rows are dealt. `near_duplicates` is the share of phrases that such prompts have in common; 1 = off."""

    fractions: Fractions
    seed: int
    near_duplicates: float
    train_order: str


@dataclass(frozen=True)
class Deal:
    """What becomes of each row."""

    fates: NDArray[np.uint8]
    times: NDArray[np.uint16]  # how often it is written
    repeated: Rows  # (rows, 2): a row that says what an earlier one says, and that one
    near: Near
    renamed: Rows  # rows whose own id another row has; theirs is the content hash
    identities: Hashes  # of the ids that the rows end up with


def deal(gathered: Gathered, rules: Rules, sketches: Path) -> Deal:
    """Return what becomes of each of the gathered rows."""
    columns = gathered.columns
    places, answers, contents = view(columns.place), view(columns.answer), view(columns.content)
    fates = np.full(len(columns), TRAIN, np.uint8)

    for source, taken in gathered.slices():
        if source.max_examples:
            fates[taken][_beyond(source.max_examples, places[taken], answers[taken], contents[taken])] = BEYOND
    # After the limits: a row that is beyond that of its source must not stand in the way of an equal one elsewhere.
    repeated = _repeats(np.flatnonzero(fates == TRAIN), places, answers)
    fates[repeated[:, 0]] = REPEATED

    rows = np.flatnonzero(fates == TRAIN)
    near = Near.none(places)
    if rules.near_duplicates < 1:
        near = tie(rows, places, answers, contents, sketches, rules.near_duplicates)
        fates[near.dropped[:, 0]] = NEARLY_REPEATED
        rows = np.flatnonzero(fates == TRAIN)

    fates[rows] = splits_of(near.places[rows], rules.fractions)
    times = (fates < len(SPLITS)).astype(np.uint16)
    training = np.flatnonzero(fates == TRAIN)
    times[training] = copies(contents[training], view(columns.weight)[training])
    fates[training[times[training] == 0]] = UNDRAWN
    renamed, identities = _rename(fates, view(columns.identity), contents)
    return Deal(fates, times, repeated, near, renamed, identities)


def _beyond(limit: int, places: Hashes, answers: Hashes, contents: Hashes) -> NDArray[np.bool]:
    """Tell which rows of a source its limit leaves out; rows that say the same are one, and go together."""
    repeated = repeats(places, answers)
    firsts = np.arange(len(places))
    firsts[repeated[:, 0]] = repeated[:, 1]
    out = np.zeros(len(places), bool)
    out[beyond(limit, np.flatnonzero(firsts == np.arange(len(places))), contents)] = True
    return out[firsts]


def _repeats(rows: Rows, places: Hashes, answers: Hashes) -> Rows:
    if len(rows) == len(places):
        return repeats(places, answers)  # the copies that rows[...] makes are spared
    return rows[repeats(places[rows], answers[rows])]


def _rename(fates: NDArray[np.uint8], identities: Hashes, contents: Hashes) -> tuple[Rows, Hashes]:
    """Return the rows whose own id an earlier one has, or which is another's content hash; and all resulting ids."""
    own = np.flatnonzero((identities != contents) & (fates < len(SPLITS)))
    own = own[identities[own].argsort(kind="stable")]
    used = np.zeros(len(own), bool)
    used[1:] = np.diff(identities[own]) == 0
    if len(own):
        taken = np.sort(contents[fates < len(SPLITS)])  # np.isin would need three times the memory
        used |= taken[taken.searchsorted(identities[own]).clip(max=len(taken) - 1)] == identities[own]
    renamed = np.sort(own[used])
    final = identities.copy()
    final[renamed] = contents[renamed]
    return renamed, final
