"""The charts of a study, by name, and how they become SVG and PNG without a network."""

import re
from collections.abc import Mapping
from html import escape
from itertools import combinations

from ollamake.report.charts import CONFIG, VEGA_LITE
from ollamake.sweep.report_data import Results
from ollamake.sweep.report_drawing import Spec, history, importances, reported
from ollamake.sweep.report_parallel import parallel
from ollamake.sweep.report_tradeoff import against, cost


def charts(results: Results, shares: Mapping[str, float]) -> dict[str, Spec]:
    """Return the spec of each chart that has something to show; those of one objective of several end with its name."""
    found: dict[str, Spec] = {}
    names = [slug(objective.name) for objective in results.objectives]
    for place, name in enumerate(names):
        end = f"-{name}" if len(names) > 1 else ""
        if results.complete:
            found[f"history{end}"] = history(results, place)
            found[f"parallel{end}"] = parallel(results, place)
        if len(results.timed) > 1:
            found[f"cost{end}"] = cost(results, place)
    if results.complete:
        for one, other in combinations(range(len(names)), 2):
            found[f"front-{names[one]}-{names[other]}"] = against(results, one, other)
    if shares:
        found["importance"] = importances(shares)
    if results.points:
        found["reported"] = reported(results)
    return found


def slug(name: str) -> str:
    """Return the name as it may stand in a file's."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower())


def svg(spec: Spec) -> str:
    """Return the chart as an SVG element, with its title as a name for screen readers."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=CONFIG, allowed_base_urls=[])
    return str(drawn).replace("<svg ", f'<svg role="img" aria-label="{escape(spec["title"])}" ', 1)


def png(spec: Spec) -> bytes:
    """Return the chart as a picture, twice as large as on the page."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, config=CONFIG, scale=2, allowed_base_urls=[]))
