"""What a better value costs: seconds against an objective, one objective against another, and who is beaten in both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ollamake.report.charts import ONE
from ollamake.sweep.report_data import Results
from ollamake.sweep.report_drawing import GREY, Spec, channel, chart, short

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Point = tuple[float, float]


def front(points: Sequence[Point], maximize: tuple[bool, bool]) -> set[Point]:
    """Return the points that no other one beats in one coordinate without losing in the other."""
    signs = [-1 if more else 1 for more in maximize]
    found, best = set(), float("inf")
    for point in sorted(set(points), key=lambda point: (signs[0] * point[0], signs[1] * point[1])):
        if signs[1] * point[1] < best:
            best = signs[1] * point[1]
            found.add(point)
    return found


def cost(results: Results, place: int) -> Spec:
    """Return an objective over the seconds of the trials."""
    objective, trials = results.objectives[place], results.timed
    points = [(trial.user_attrs["seconds"], trial.values[place]) for trial in trials]
    x = {"field": "x", "type": "quantitative", "title": "seconds of the trial"}
    y = channel("y", objective, [value for _, value in points])
    return _scatter(f"{short(objective)} against seconds", trials, points, (x, y), (False, objective.maximize))


def against(results: Results, one: int, other: int) -> Spec:
    """Return two objectives over each other."""
    across, up = results.objectives[one], results.objectives[other]
    points = [(trial.values[one], trial.values[other]) for trial in results.complete]
    x = channel("x", across, [value for value, _ in points])
    y = channel("y", up, [value for _, value in points])
    title = f"{short(up)} against {short(across)}"
    return _scatter(title, results.complete, points, (x, y), (across.maximize, up.maximize))


def _scatter(
    title: str,
    trials: "Sequence[FrozenTrial]",
    points: Sequence[Point],
    channels: tuple[Spec, Spec],
    maximize: tuple[bool, bool],
) -> Spec:
    best = front(points, maximize)
    rows: list[dict[str, Any]] = [
        {"trial": str(trial.number), "x": point[0], "y": point[1], "best": point in best}
        for trial, point in zip(trials, points, strict=True)
    ]
    place = {"x": channels[0], "y": channels[1]}
    colour = {"condition": {"test": "datum.best", "value": ONE}, "value": GREY}
    of_the_best = [{"filter": "datum.best"}]
    number = {**place, "text": {"field": "trial"}}
    layers: list[Spec] = [
        {"transform": of_the_best, "mark": {"type": "line", "color": ONE, "strokeDash": [4, 3]}, "encoding": place},
        {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": {**place, "color": colour}},
        {"transform": of_the_best, "mark": {"type": "text", "dy": -11, "fontSize": 10}, "encoding": number},
    ]
    return chart(f"{title}; in blue the trials that none beats in both", rows, layers)
