"""The data of the gate's charts: a row for each bar, with the ends of its interval."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ollamake.files import atomic_write
from ollamake.gate.comparison import Standing
from ollamake.scoring.names import MEASURES, figure, measure

BAR = ("model", "score", "low", "high", "text")


def write_scores(path: Path, standings: Mapping[str, Standing]) -> None:
    """Write the scores that are fractions, of each model."""
    names = [name for name in MEASURES if measure(name).fraction and name in standings["tuned"].scores]
    rows = ([measure(name).label, *bar] for name in names for bar in _bars(standings, name))
    _write(path, ("metric", *BAR), rows)


def write_tasks(path: Path, tasks: Mapping[str, Mapping[str, Standing]], metric: str) -> None:
    """Write the score of the gate on each task, of each model."""
    rows = ([task, *bar] for task, standings in tasks.items() for bar in _bars(standings, metric))
    _write(path, ("task", *BAR), rows)


def _bars(standings: Mapping[str, Standing], name: str) -> Iterable[Sequence[str | float]]:
    for model, standing in standings.items():
        if name in standing.scores:
            score = standing.scores[name]
            yield [model, score, *standing.intervals[name], figure(name, score) + " %" * measure(name).fraction]


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(head)
        lines.writerows(rows)
