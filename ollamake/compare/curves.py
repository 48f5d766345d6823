"""The plots that dvc.yaml declares, those of all builds in one chart, drawn by DVC's own renderer without a network."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ollamake.compare.build import Build
from ollamake.compare.document import Chart, Section
from ollamake.report.charts import CONFIG, VEGA_LITE

TEMPLATES = Path(".dvc/plots")
COLOURS = ("#6b7684", "#2a6fdb", "#e07b2f", "#2f9e6e", "#8a5fc7", "#c2417c", "#a08a1f")
DELIMITERS = {".tsv": "\t", ".csv": ","}
FEW_POINTS = 100


def curves(builds: Sequence[Build]) -> Section:
    """Return the plots whose data differs between the builds."""
    declared = {path: found for build in builds for path, found in build.declared("plots").items()}
    charts, notes, same = [], [], []
    for path, properties in declared.items():
        found = {build.name: rows for build in builds if (rows := _rows(build, path, properties))}
        title = str(properties.get("title", path))
        if len(found) < 2:
            notes += [f"{path}: only {name} has it" for name in found]
            continue
        if len(found) == len(builds) and all(rows == found[builds[0].name] for rows in found.values()):
            same.append(title)
            continue
        try:
            charts.append(Chart(title, _draw(path, properties, found)))
        except (ValueError, KeyError, OSError) as error:
            notes.append(f"{path} is not drawn: {error}")
    if same:
        notes.append(f"the same in all: {', '.join(same)}")
    return Section("Curves", (), notes, charts=charts, same="no curve differs" if declared else "")


def _rows(build: Build, path: str, properties: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows that have both numbers."""
    content = build.revision.read(path) if path in build.declared("plots") else None
    delimiter = DELIMITERS.get(Path(path).suffix)
    if content is None or delimiter is None:
        return []
    table = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace")), delimiter=delimiter)
    x, y = (str(properties.get(axis, "")) for axis in "xy")
    return [dict(row) for row in table if row.get(x) and row.get(y)]


def _draw(path: str, properties: Mapping[str, Any], found: Mapping[str, list[dict[str, str]]]) -> str:
    """Return the SVG. Raises ValueError when the template does not fit the data."""
    import vl_convert
    from dvc_render.exceptions import DvcRenderError
    from dvc_render.vega import VegaRenderer

    rows = [{**row, "rev": name} for name, each in found.items() for row in each]
    folder = str(TEMPLATES) if TEMPLATES.is_dir() else None
    try:
        # Its own x and y labels, and the project's templates, as `dvc plots diff` has them.
        wanted = {name: value for name, value in properties.items() if name != "cache"}
        spec = VegaRenderer(rows, path, template_dir=folder, **wanted).get_filled_template()
    except DvcRenderError as error:
        raise ValueError(str(error)) from error
    spec = _coloured(spec, list(found))
    if isinstance(mark := spec.get("mark"), dict) and mark.get("type") == "line" and len(rows) <= FEW_POINTS:
        # A run of one epoch has one validation, and a line through one point is nothing to see.
        mark["point"] = True
        spec["encoding"]["x"]["scale"] = {"padding": 8}
    return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=CONFIG, allowed_base_urls=[]))


def _coloured(spec: Any, builds: Sequence[str]) -> Any:
    """Return the spec with the colours of this page for the builds, the first one grey."""
    if isinstance(spec, list):
        return [_coloured(each, builds) for each in spec]
    if not isinstance(spec, dict):
        return spec
    found = {key: _coloured(value, builds) for key, value in spec.items()}
    if isinstance(color := found.get("color"), dict) and color.get("field") == "rev":
        shades = [COLOURS[place % len(COLOURS)] for place in range(len(builds))]
        found["color"] = {"field": "rev", "scale": {"domain": list(builds), "range": shades}, "legend": None}
    return found


def colours(builds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each build's name with its colour."""
    yield from ((name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(builds))
