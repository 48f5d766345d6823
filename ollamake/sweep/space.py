"""The points of a search space: drawn by Optuna, listed for a grid, and at its corners."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, cast

from ollamake.sweep.spec import Dimension, Value

if TYPE_CHECKING:
    from optuna import Trial

Space = Mapping[str, Dimension]
Point = dict[str, Value]


def is_active(dimension: Dimension, chosen: Mapping[str, Value]) -> bool:
    """Tell whether the parameter is searched beside the values chosen before it."""
    return all(
        name in chosen and chosen[name] in (wanted if isinstance(wanted, list) else [wanted])
        for name, wanted in dimension.when.items()
    )


def suggest(trial: "Trial", space: Space) -> Point:
    """Let Optuna choose a point, one parameter after the other in the order of the file."""
    chosen: Point = {}
    for name, dimension in space.items():
        if is_active(dimension, chosen):
            chosen[name] = _suggest(trial, name, dimension)
    return chosen


def _suggest(trial: "Trial", name: str, dimension: Dimension) -> Value:
    if dimension.choices is not None:
        return cast("Value", trial.suggest_categorical(name, dimension.choices))
    low, high = _ends(dimension)
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), step=int(dimension.step or 1), log=dimension.log)
    value = trial.suggest_float(name, low, high, step=dimension.step, log=dimension.log)
    if dimension.step is not None:
        return _stepped(dimension, round((value - low) / dimension.step))
    return min(max(_short(value), low), high)


def _ends(dimension: Dimension) -> tuple[float, float]:
    if dimension.low is None or dimension.high is None:
        raise TypeError("a list of choices has no ends")
    return float(dimension.low), float(dimension.high)


def _short(value: float) -> float:
    # Four digits are more than any training can tell apart, and can be read and typed again.
    return float(f"{value:.4g}")


def _stepped(dimension: Dimension, number: int) -> float:
    # As the file has it, so that it can be read and typed again: 0.3, where floats add up to 0.30000000000000004.
    return float(Decimal(str(dimension.low)) + number * Decimal(str(dimension.step)))


def points(space: Space) -> Iterator[Point]:
    """Yield every point of a space without continuous ranges, each once: conditions leave parameters out."""
    yield from _points(space, {name: _values(dimension) for name, dimension in space.items()})


def corners(space: Space) -> Iterator[Point]:
    """Yield every point that has each of its parameters at an end of its range, or at any of its choices."""
    yield from _points(space, {name: _extremes(dimension) for name, dimension in space.items()})


def ends(space: Space) -> Iterator[Point]:
    """Yield each end or choice of each parameter alone, for a space with too many corners."""
    for name, dimension in space.items():
        for value in _extremes(dimension):
            yield {name: value}


def _points(space: Space, values: Mapping[str, list[Value]]) -> Iterator[Point]:
    seen = set()
    for combination in product(*values.values()):
        chosen: Point = {}
        for name, value in zip(values, combination, strict=True):
            if is_active(space[name], chosen):
                chosen[name] = value
        if (key := tuple(chosen.items())) not in seen:
            seen.add(key)
            yield chosen


def _values(dimension: Dimension) -> list[Value]:
    if dimension.choices is not None:
        return dimension.choices
    low, high = _ends(dimension)
    if dimension.whole:
        return list(range(int(low), int(high) + 1, int(dimension.step or 1)))
    if dimension.step is None:
        raise TypeError("a range without a step has no end of values")
    return [_stepped(dimension, number) for number in range(int((high - low) / dimension.step + 1e-9) + 1)]


def _extremes(dimension: Dimension) -> list[Value]:
    if dimension.choices is not None:
        return dimension.choices
    return [int(end) if dimension.whole else end for end in _ends(dimension)]


def count_corners(space: Space) -> int:
    """Return how many corners there are at most."""
    total = 1
    for dimension in space.values():
        total *= len(_extremes(dimension))
    return total


def locate(content: Mapping[str, Any], space: Space) -> Point | None:
    """Return where in the space the values of params.yaml lie; None where one is outside."""
    chosen: Point = {}
    for name, dimension in space.items():
        if not is_active(dimension, chosen):
            continue
        if not _holds(dimension, content[name]):
            return None
        chosen[name] = content[name]
    return chosen


def _holds(dimension: Dimension, value: Any) -> bool:
    if dimension.choices is not None:
        return any(type(value) is type(choice) and value == choice for choice in dimension.choices)
    low, high = _ends(dimension)
    if isinstance(value, (bool, str)) or not low <= value <= high:
        return False
    steps = (value - low) / (dimension.step or 1)
    return dimension.is_continuous or dimension.log or abs(steps - round(steps)) < 1e-9
