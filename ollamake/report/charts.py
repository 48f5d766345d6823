"""The charts of the HTML page: the plots of dvc.yaml, drawn by DVC's own renderer and made SVG without a network.

Their definitions stand here a second time, because DVC lets no stage depend on dvc.yaml: read from there, a changed
title would leave an old page behind. A test holds the two equal.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODELS = {"base": "#9aa5b1", "tuned": "#2a6fdb", "release": "#8a5fc7"}
ONE = "#2a6fdb"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # the first comes with vl-convert: every machine measures alike
CONFIG = {
    "font": FONT,
    "background": "white",
    "view": {"stroke": "#d5d9de"},
    "axis": {"gridColor": "#eceff2", "domainColor": "#8a929b", "tickColor": "#8a929b", "labelColor": "#333"},
    "title": {"fontSize": 14, "color": "#1d1d1f"},
}
VEGA_LITE = "5.21"  # the templates are of version 5


@dataclass(frozen=True)
class Plot:
    """A plot as dvc.yaml defines it, without its path."""

    title: str
    x: str
    y: str
    x_label: str
    y_label: str | None = None
    template: str | None = None


STEP, NATS = "optimizer step", "nats a supervised token"
SCORES, TASKS, LENGTHS = "plots/gate/scores.csv", "plots/gate/tasks.csv", "plots/evaluate/lengths.csv"
TRAIN_LOSS, VAL_LOSS, GAP = (
    f"plots/train/metrics/{name}.tsv" for name in ("train_loss", "val_loss", "overfitting_gap")
)
QUALITY = "plots/convert/quality.csv"
PLOTS: Mapping[str, Plot] = {
    TRAIN_LOSS: Plot("Training loss", "step", "train_loss", STEP, NATS),
    VAL_LOSS: Plot("Validation loss", "step", "val_loss", STEP, NATS, "simple"),
    GAP: Plot("Overfitting, validation loss minus training loss", "step", "overfitting_gap", STEP, NATS, "simple"),
    SCORES: Plot(
        "Base model, tuned model and release", "score", "metric", "share of the test conversations, or score",
        template="scores",
    ),
    TASKS: Plot("The score of the gate on each task", "score", "task", "score", template="scores"),
    LENGTHS: Plot(
        "Length against score", "reference_tokens", "score",
        "tokens of the reference answer, groups of similar length", "ROUGE-L", "lengths",
    ),
    QUALITY: Plot(
        "GGUF files, quality against size", "size_mb", "perplexity", "size of the file in MB",
        "perplexity of the reference answers", "quality",
    ),
}  # fmt: skip


def draw(path: str, templates: Path) -> str:
    """Return the plot of that file as an SVG element; empty where the file holds no number to draw.

    `templates` is the folder of the project's own Vega-Lite templates.
    """
    import vl_convert
    from dvc_render.vega import VegaRenderer

    plot = PLOTS[path]
    rows = _rows(Path(path), plot)
    if not rows:
        return ""
    properties = {key: value for key, value in asdict(plot).items() if value is not None}
    renderer = VegaRenderer(rows, path, template_dir=str(templates), **properties)
    spec = _coloured(renderer.get_filled_template(), by_model="model" in rows[0])
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=CONFIG, allowed_base_urls=[])
    return _in_a_page(svg, Path(path).stem, plot.title)


def _rows(path: Path, plot: Plot) -> list[dict[str, str]]:
    """Return the rows that have a number, as DVC gives them to a template."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    number = plot.x if plot.template == "scores" else plot.y
    found = [{**row, "rev": "workspace"} for row in rows if row.get(number)]
    is_line = plot.template in (None, "simple")
    return [] if is_line and len(found) < 2 else found  # a line of one point is nothing to see


def _coloured(spec: Any, *, by_model: bool) -> Any:
    """Return the spec with another colour for each model, in place of one for each revision: a report has but one."""
    if isinstance(spec, list):
        return [_coloured(each, by_model=by_model) for each in spec]
    if not isinstance(spec, dict):
        return spec
    found = {key: _coloured(value, by_model=by_model) for key, value in spec.items()}
    if isinstance(color := found.get("color"), dict) and color.get("field") == "rev":
        models = {"domain": list(MODELS), "range": list(MODELS.values())}
        found["color"] = {"field": "model", "scale": models, "legend": None} if by_model else {"value": ONE}
    return found


def _in_a_page(svg: str, name: str, title: str) -> str:
    """Return the SVG with ids of its own, since all charts of a page share one room, and a name for screen readers."""
    for number, found in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg)), start=1):
        # The numbers that Vega gives go on from one chart to the next.
        svg = svg.replace(f'id="{found}"', f'id="{name}-{number}"').replace(f"url(#{found})", f"url(#{name}-{number})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
