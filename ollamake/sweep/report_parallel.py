"""Parallel coordinates: an axis for each parameter and one for the objective, a line for each trial."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution

from ollamake.report.scores import amount
from ollamake.sweep.report_data import Results
from ollamake.sweep.report_drawing import DEEP, PALE, WIDE, Spec, chart, label, logarithmic, shape, short

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

AXIS = 130  # pixels from one to the next
BELOW = -0.12  # the height of a value that is none
APART = 0.06  # where values stand closer than that, only the ends of the axis are written


@dataclass(frozen=True)
class Axis:
    """An axis from 0 to 1: the height of each value that a trial has, and the heights that carry a text."""

    name: str
    heights: Mapping[Any, float]
    marks: Mapping[str, float]

    @property
    def written(self) -> list[dict[str, Any]]:
        """The rows of its texts."""
        return [{"axis": self.name, "height": height, "text": text} for text, height in self.marks.items()]


def parallel(results: Results, place: int) -> Spec:
    """Return the chart for one objective, which is its last axis and its colour."""
    objective = results.objectives[place]
    axes = [*(_parameter(results, name) for name in results.params), _value(results, place)]
    rows = [row for trial in results.complete for row in _line(trial, results.drawn(trial), trial.values[place], axes)]
    heights = [row["height"] for row in rows]
    x: Spec = {"field": "axis", "type": "ordinal", "title": None, "scale": {"domain": [axis.name for axis in axes]}}
    x["axis"] = {"labelAngle": 0, "orient": "top", "domain": False, "ticks": False, "labelFontWeight": "bold"}
    y = {
        "field": "height",
        "type": "quantitative",
        "scale": {"domain": [min(0, *heights) - 0.05, 1.05], "nice": False},
        "axis": None,
    }
    colours = [PALE, DEEP] if objective.maximize else [DEEP, PALE]
    colour: Spec = {"field": "value", "type": "quantitative", "title": label(objective)}
    colour["scale"] = {"range": colours, "zero": False, **logarithmic(row["value"] for row in rows)}
    colour["legend"] = {"orient": "bottom", "direction": "horizontal", "gradientLength": 240, **shape(objective)}
    marks = {"values": [row for axis in axes for row in axis.written]}
    drawn = {"x": x, "y": y, "color": colour}
    line = {**drawn, "detail": {"field": "trial"}, "order": {"field": "place"}}
    text = {"type": "text", "align": "left", "dx": 6, "fontSize": 10, "color": "#333"}
    halo = {**text, "stroke": "white", "strokeWidth": 4, "strokeJoin": "round"}
    written = {"x": x, "y": y, "text": {"field": "text"}}
    layers: list[Spec] = [
        {"data": marks, "mark": {"type": "rule", "color": "#b9c0c8"}, "encoding": {"x": x}},
        {"mark": {"type": "line"}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 28}, "encoding": drawn},
        {"data": marks, "mark": halo, "encoding": written},
        {"data": marks, "mark": text, "encoding": written},
    ]
    spec = chart(f"What each trial was made with, and the {short(objective)} that came of it", rows, layers)
    return {**spec, "width": max(WIDE, AXIS * len(axes)), "view": {"stroke": None}}


def _parameter(results: Results, name: str) -> Axis:
    """Return the axis of a parameter over the range that was searched."""
    trials = [trial for trial in results.complete if name in trial.params]
    values = [results.drawn(trial)[name] for trial in trials]
    distribution: Any = trials[-1].distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        heights = {
            choice: _share(place, 0, len(distribution.choices) - 1) for place, choice in enumerate(distribution.choices)
        }
        return Axis(name, heights, {str(choice): height for choice, height in heights.items()})
    low, high = min(distribution.low, *values), max(distribution.high, *values)
    return _numbers(name, values, (low, high), math.log if distribution.log else float, "{:.4g}".format)


def _value(results: Results, place: int) -> Axis:
    """Return the axis of an objective over the values that were reached."""
    name, values = results.objectives[place].name, [trial.values[place] for trial in results.complete]
    scale = math.log if logarithmic(values) else float
    return _numbers(label(results.objectives[place]), values, (min(values), max(values)), scale, partial(amount, name))


def _numbers(
    name: str,
    values: Sequence[float],
    ends: tuple[float, float],
    scale: Callable[[float], float],
    write: Callable[[float], str],
) -> Axis:
    low, high = map(scale, ends)
    heights = {value: _share(scale(value), low, high) for value in [*values, *ends]}
    places = sorted({heights[value] for value in values})
    crowded = any(above - below < APART for below, above in pairwise(places))
    marked = ends if crowded else sorted(set(values))
    return Axis(name, heights, {write(value): heights[value] for value in marked})


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _line(
    trial: "FrozenTrial", drawn: Mapping[str, Any], value: float, axes: Sequence[Axis]
) -> Iterator[dict[str, Any]]:
    """Yield the points of a trial: a parameter that a condition left out stands below its axis."""
    for place, axis in enumerate(axes):
        shown = value if place == len(axes) - 1 else drawn.get(axis.name)
        height = BELOW if shown is None else axis.heights[shown]
        yield {"axis": axis.name, "place": place, "height": height, "trial": trial.number, "value": value}
