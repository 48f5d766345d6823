"""What the events of a run (`benchmarks.peers.clock`) come to: its steps, the tokens in each, its speed.

A batch is told by its token ids alone, whatever trainer made it, padded or packed: rows are found again in it. A row
counts up to its last token that carries loss, so that a trainer which cuts the rest off counts the same.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

IGNORE_INDEX = -100


class Rows:
    """The rows of a data set, to be found again in batches."""

    def __init__(self, rows: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        self._supervised: dict[tuple[int, ...], int] = {}
        self.tokens = self.supervised = 0
        self.squares = 0
        for input_ids, labels in rows:
            # No token predicts the first one.
            places = [place for place, label in enumerate(labels) if label != IGNORE_INDEX and place]
            key = tuple(input_ids[: places[-1] + 1]) if places else ()
            self._supervised[key] = len(places)
            self.tokens += len(key)
            self.supervised += len(places)
            self.squares += len(key) ** 2
        self._supervised.pop((), None)
        self._lengths = sorted({len(key) for key in self._supervised}, reverse=True)
        self._firsts = {key[0] for key in self._supervised}

    def find(self, ids: Sequence[int]) -> "Seen":
        """Return what a line of a batch holds: one row and padding, or several rows."""
        seen, place = Seen(positions=len(ids)), 0
        while place < len(ids):
            key = self._at(ids, place) if ids[place] in self._firsts else ()
            if key:
                seen += Seen(tokens=len(key), supervised=self._supervised[key])
            place += max(len(key), 1)
        return seen

    def _at(self, ids: Sequence[int], place: int) -> tuple[int, ...]:
        for length in self._lengths:
            key = tuple(ids[place : place + length])
            if key in self._supervised:
                return key
        return ()


@dataclass(frozen=True)
class Seen:
    """What was computed: places in batches, real tokens among them, tokens that carry loss among those."""

    positions: int = 0
    tokens: int = 0
    supervised: int = 0

    def __add__(self, other: "Seen") -> "Seen":
        sums = (self.positions + other.positions, self.tokens + other.tokens, self.supervised + other.supervised)
        return Seen(*sums)


@dataclass(frozen=True)
class Step:
    """An optimizer step: when it ended, what it computed, whether an evaluation came before it."""

    end: float
    seen: Seen = field(default_factory=Seen)
    evaluated: bool = False
    device_bytes: int = 0
    processor: float = 0.0  # seconds that all threads of the process had used by then


@dataclass(frozen=True)
class Rate:
    """Steady speed, each a second: places, tokens, supervised tokens; and over how many seconds, of how many cores."""

    positions: float
    tokens: float
    supervised: float
    seconds: float
    processor_seconds: float


def read_steps(events: Path, rows: Rows) -> list[Step]:
    """Return the steps of a run; batches and evaluations belong to the step that ends next."""
    steps: list[Step] = []
    step = Step(0.0)
    for line in events.read_text(encoding="utf-8").splitlines():
        event: dict[str, Any] = json.loads(line)
        if event["kind"] == "batch":
            for ids in event["ids"]:
                step = replace(step, seen=step.seen + rows.find(ids))
        elif event["kind"] == "evaluation":
            step = replace(step, evaluated=True)
        else:
            figures = {"processor": event["processor"], "device_bytes": event.get("device_bytes", 0)}
            steps.append(replace(step, end=event["time"], **figures))
            step = Step(0.0)
    return steps


def steady(steps: Sequence[Step], skipped: int = 1) -> Rate:
    """Return the speed from the end of one step to the end of the next, summed over all but the first `skipped` steps.

    The first is slower, while buffers grow and kernels are chosen. Not more are left out than need be: trainers that
    group by length begin with long rows, which should count.

    What lies between two such ends counts: the optimizer, logging, the next batch. A step with an evaluation before it
    is left out whole. Raises ValueError when no step is left.
    """
    seconds, processor, seen = 0.0, 0.0, Seen()
    for before, step in zip(steps[skipped - 1 :], steps[skipped:], strict=False):
        if not step.evaluated:
            seconds, seen = seconds + step.end - before.end, seen + step.seen
            processor += step.processor - before.processor
    if not seconds:
        raise ValueError(f"{len(steps)} steps are too few to measure; the first {skipped} do not count")
    return Rate(seen.positions / seconds, seen.tokens / seconds, seen.supervised / seconds, seconds, processor)
