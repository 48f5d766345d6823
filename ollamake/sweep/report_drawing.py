"""What the charts of a study have in common, and the two that are simple: Vega-Lite specs as dicts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollamake.report.charts import ONE
from ollamake.scoring.names import measure
from ollamake.sweep.report_data import Objective, Results

Spec = dict[str, Any]
GREY, AMBER, PALE, DEEP = "#9aa5b1", "#d9822b", "#b9cdf0", "#123c80"
WIDE, HIGH = 640, 280
SPREAD = 30  # values further apart than this factor are drawn on a logarithmic scale


def chart(title: str, rows: Sequence[Mapping[str, Any]], layers: Sequence[Spec]) -> Spec:
    """Return a chart of `layers` over `rows`."""
    return {"title": title, "width": WIDE, "height": HIGH, "data": {"values": list(rows)}, "layer": list(layers)}


def channel(field: str, objective: Objective, values: Iterable[float]) -> Spec:
    """Return the channel of an objective's values."""
    scale = {"zero": False, **logarithmic(values)}
    return {"field": field, "type": "quantitative", "title": label(objective), "scale": scale, "axis": shape(objective)}


def logarithmic(values: Iterable[float]) -> Spec:
    """Return the logarithmic scale where one diverged trial would press all others into a line; else nothing."""
    known = list(values)
    return {"type": "log"} if min(known) > 0 and max(known) > SPREAD * min(known) else {}


def shape(objective: Objective) -> Spec:
    """Return how the objective's numbers are written: fractions in percent."""
    return {"format": "~p"} if measure(objective.name).fraction else {}


def label(objective: Objective) -> str:
    """Return the objective's name for people."""
    return measure(objective.name).label


def short(objective: Objective) -> str:
    """Return the same without its unit, for a sentence."""
    return label(objective).partition(",")[0]


def history(results: Results, place: int) -> Spec:
    """Return the value of each trial, the best so far, and the default."""
    objective, rows = results.objectives[place], list[dict[str, Any]]()
    for trial in results.complete:
        value = trial.values[place]
        best = value if not rows or objective.better(value, rows[-1]["best"]) else rows[-1]["best"]
        rows.append({"trial": trial.number, "value": value, "best": best})
    ticks = max(1, min(results.complete[-1].number, 12))
    x = {"field": "trial", "type": "quantitative", "title": "trial", "axis": {"tickCount": ticks, "format": "d"}}
    y = channel("value", objective, [row["value"] for row in rows])
    layers: list[Spec] = [
        {"mark": {"type": "point", "filled": True, "size": 50, "color": GREY}, "encoding": {"x": x, "y": y}},
        {
            "mark": {"type": "line", "interpolate": "step-after", "color": ONE},
            "encoding": {"x": x, "y": {**y, "field": "best"}},
        },
    ]
    default = results.default_metrics.get(objective.name)
    if default is not None:
        layers += _level(default, "default", y)
    return chart(f"{short(objective)}: the trials, and the best so far", rows, layers)


def _level(value: float, text: str, y: Spec) -> list[Spec]:
    """Return a dashed line across the chart, with its name above its end."""
    data, y = {"values": [{"level": value, "text": text}]}, {**y, "field": "level"}
    named = {"x": {"value": WIDE - 4}, "y": y, "text": {"field": "text"}}
    return [
        {"data": data, "mark": {"type": "rule", "strokeDash": [5, 4], "color": AMBER}, "encoding": {"y": y}},
        {"data": data, "mark": {"type": "text", "align": "right", "dy": -7, "color": AMBER}, "encoding": named},
    ]


def importances(shares: Mapping[str, float]) -> Spec:
    """Return the share of each parameter, the largest first."""
    rows = [{"name": name, "share": share} for name, share in shares.items()]
    y = {"field": "name", "type": "nominal", "sort": None, "title": None}
    x = {"field": "share", "type": "quantitative", "title": "share of the importance", "axis": {"format": ".0%"}}
    number = {"field": "share", "type": "quantitative", "format": ".0%"}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "color": ONE}, "encoding": {"x": x, "y": y}},
        {"mark": {"type": "text", "align": "left", "dx": 4}, "encoding": {"x": x, "y": y, "text": number}},
    ]
    return {**chart("Which parameters matter", rows, layers), "height": {"step": 28}}


def reported(results: Results) -> Spec:
    """Return what the trials reported while they ran, the pruned ones in front."""
    kinds = {"pruned": AMBER, "complete": PALE}
    rows = results.points
    scale = {"zero": False, **logarithmic(row["value"] for row in rows)}
    ticks = max(1, min(max(row["step"] for row in rows) - 1, 12))
    colour = {"field": "kind", "type": "nominal", "title": None, "legend": {"orient": "top-right"}}
    encoding = {
        "x": {
            "field": "step",
            "type": "quantitative",
            "title": "validation",
            "axis": {"tickCount": ticks, "format": "d"},
        },
        "y": {"field": "value", "type": "quantitative", "title": "value reported", "scale": scale},
        "color": {**colour, "scale": {"domain": list(kinds), "range": list(kinds.values())}},
        "detail": {"field": "trial"},
    }
    line = {"mark": {"type": "line", "point": True}, "encoding": encoding}
    layers = [{"transform": [{"filter": f"datum.kind === '{kind}'"}], **line} for kind in reversed(kinds)]
    return chart("What the trials reported while they ran", rows, layers)
