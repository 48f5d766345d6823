"""Several rows in one: best-fit decreasing, which leaves packs nearly as few as can be."""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packs:
    """Pack number i holds `rows[offsets[i]:offsets[i + 1]]`, indices of rows in ascending order."""

    rows: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


def pack(lengths: np.ndarray, capacity: int) -> Packs:
    """Deal rows of `lengths` tokens, each from 1 to `capacity`, into packs of at most `capacity`.

    From the longest row to the shortest, each goes to the fullest pack that has room for it. The packs come in the
    order of their first rows.
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(f"rows of {lengths.min()} to {lengths.max()} tokens do not fit packs of {capacity}")
    packs = _Rooms(capacity)
    homes = np.empty(len(lengths), np.int32)
    order = np.argsort(-lengths, kind="stable")
    sizes, counts = np.unique(lengths, return_counts=True)
    dealt = 0
    for size, count in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        for taken in packs.take(size, count):
            homes[order[dealt : dealt + len(taken)]] = taken
            dealt += len(taken)
    homes = _numbered_by_first_row(homes, packs.opened)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(homes, minlength=packs.opened))])
    return Packs(np.argsort(homes, kind="stable").astype(np.int32), offsets.astype(np.int32))


class _Rooms:
    """The open packs by the tokens that they have room for.

    Rows of one size are dealt together to packs with the same room, so the work is in the number of sizes, not of
    rows. A pack that takes a row of some size is then the fullest one with room for another, until it has none.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.opened = capacity, 0
        self._packs: defaultdict[int, deque[np.ndarray]] = defaultdict(deque)
        self._rooms: list[int] = []  # those of _packs, in order

    def take(self, size: int, count: int) -> Iterator[np.ndarray]:
        """Yield the pack numbers that `count` rows of `size` tokens go to, some at a time."""
        while count:
            room, packs = self._fullest(size, count)
            each = room // size
            full, rest = divmod(min(count, each * len(packs)), each)
            yield np.repeat(packs[:full], each)
            self._put(room - each * size, packs[:full])
            if rest:
                yield np.repeat(packs[full : full + 1], rest)
                self._put(room - rest * size, packs[full : full + 1])
            self._put(room, packs[full + bool(rest) :])
            count -= full * each + rest

    def _fullest(self, size: int, count: int) -> tuple[int, np.ndarray]:
        """Take out packs of the least room that `size` fits in, or open as many as `count` rows need."""
        place = bisect_left(self._rooms, size)
        if place == len(self._rooms):
            needed = -(-count // (self.capacity // size))
            self.opened += needed
            return self.capacity, np.arange(self.opened - needed, self.opened, dtype=np.int32)
        room = self._rooms[place]
        packs = self._packs[room].popleft()
        if not self._packs[room]:
            del self._packs[room], self._rooms[place]
        return room, packs

    def _put(self, room: int, packs: np.ndarray) -> None:
        if room and len(packs):
            if room not in self._packs:
                insort(self._rooms, room)
            self._packs[room].append(packs)


def _numbered_by_first_row(homes: np.ndarray, packs: int) -> np.ndarray:
    """Return `homes`, the pack of each row, with the packs numbered in the order in which they first appear."""
    first = np.empty(packs, np.int64)
    first[homes[::-1]] = np.arange(len(homes))[::-1]  # of several rows in one pack, the last one written stays
    number = np.empty(packs, np.int32)
    number[np.argsort(first)] = np.arange(packs, dtype=np.int32)
    renumbered: np.ndarray = number[homes]
    return renumbered
