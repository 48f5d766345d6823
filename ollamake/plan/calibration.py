"""How far past runs of this machine were from what would have been predicted for them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

from ollamake.base import store
from ollamake.plan.runs import Run, Runs
from ollamake.plan.shape import Shape, read_shape
from ollamake.plan.tokens import Tokens, count_tokens

RECENT, LOOKED_AT = 3, 20


@dataclass(frozen=True)
class Cost:
    """Seconds (`start` before the work is not in a stage's own metrics) and bytes at the peak, as predicted."""

    start: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Scale:
    """What to multiply predicted seconds and bytes by, and on what grounds."""

    seconds: float = 1.0
    memory: float = 1.0
    basis: str = "rough"


class Current(NamedTuple):
    """What a past run has in common with the next one if it tells most: the base model's key in the store, the code.

    `code` holds the md5s of the stage's own modules, by path.
    """

    key: str
    code: Mapping[str, str]


class _Compared(NamedTuple):
    """A past run's measured share of what would have been predicted for it."""

    seconds: float
    memory: float
    same_model: bool
    same_code: bool


Predict = Callable[[str, Mapping[str, Any], Shape, Tokens | None], Cost | None]


def scale_of(stage: str, runs: Runs, current: Current, content: Mapping[str, Any], predict: Predict) -> Scale:
    """Return the scale for a stage: of runs of this code with this base model, else with any, else of older code.

    Older code tells how fast the machine is, but its memory is that of code that is gone.
    """
    looked_at = islice(runs.newest(stage), LOOKED_AT)
    compared = [one for run in looked_at if (one := _compared(stage, run, runs, current, content, predict))]
    today = [one for one in compared if one.same_code]
    if here := [one for one in today if one.same_model][:RECENT]:
        return Scale(_seconds(here), _memory(here), f"{_runs(here)} here")
    if today:
        return Scale(_seconds(today[:RECENT]), _memory(today[:RECENT]), f"{_runs(today[:RECENT])} of other models")
    if older := compared[:RECENT]:
        return Scale(_seconds(older), 1.0, f"time {_runs(older)} of older code, memory rough")
    return Scale()


def _seconds(compared: Iterable[_Compared]) -> float:
    return median(one.seconds for one in compared)


def _memory(compared: Iterable[_Compared]) -> float:
    return median(one.memory for one in compared)


def _runs(compared: list[_Compared]) -> str:
    return f"{len(compared)} run{'s' if len(compared) > 1 else ''}"


def _compared(
    stage: str, run: Run, runs: Runs, current: Current, content: Mapping[str, Any], predict: Predict
) -> _Compared | None:
    """Set a past run beside what would have been predicted for it; None where its model or its rows are unknown."""
    record = runs.json(run.deps.get("models/base.json", "")) or {}
    folder = store() / "base" / str(record.get("key"))
    if "peak_memory_mb" not in run.metrics or not (folder / "config.json").is_file():
        return None
    rows = run.deps.get("data/tokenized/train.arrow") or run.deps.get("data/tokenized/test.arrow")
    tokenized = runs.that_wrote("tokenize", rows) if rows else None
    its_own = {**content, **(tokenized.params if tokenized else {}), **run.params}
    tokens = count_tokens({"tokenize": tokenized.metrics}.get if tokenized else _nothing, _nothing, its_own, 0)
    cost = predict(stage, its_own, read_shape(record["name"], folder), tokens) if tokens or not rows else None
    if cost is None:
        return None
    return _Compared(
        seconds=run.metrics["seconds"] / max(cost.seconds, 0.1),
        memory=run.metrics["peak_memory_mb"] * 1e6 / cost.memory,
        same_model=record["key"] == current.key,
        same_code=all(run.deps.get(path) == md5 for path, md5 in current.code.items()),
    )


def _nothing(_: str) -> None:
    return None
