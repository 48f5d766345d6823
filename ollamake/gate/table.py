"""The table of a contest, for a person to read."""

from collections.abc import Mapping

from ollamake.gate.comparison import Comparison, Standing
from ollamake.scoring.names import figure, heading, measure
from ollamake.scoring.resampling import Difference


def table(comparison: Comparison, gate_metric: str) -> str:
    """Return all scores as aligned lines, with half the width of their 95 % intervals; the gate's score is marked.

    Gains and leads are positive where tuned is better.
    """
    rows = [_head(comparison), *(_row(name, comparison, gate_metric) for name in comparison.standings["tuned"].scores)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _head(comparison: Comparison) -> list[str]:
    tuned, release = comparison.standings["tuned"], comparison.standings.get("release")
    head = [f"{tuned.items} test conversations, ± 95 %", "base", "tuned", "gain", "p"]
    return (
        [*head, "release" if release.items == tuned.items else f"release on {release.items}", "lead", "p"]
        if release
        else head
    )


def _row(name: str, comparison: Comparison, gate_metric: str) -> list[str]:
    standings = comparison.standings
    row = [("> " if name == gate_metric else "  ") + heading(name)]
    row += [
        _standing(name, standings["base"]),
        _standing(name, standings["tuned"]),
        *_difference(name, comparison.gain),
    ]
    if "release" in standings:
        row += [_standing(name, standings["release"]), *_difference(name, comparison.lead)]
    return row


def _line(row: list[str], widths: list[int]) -> str:
    cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()


def _standing(name: str, standing: Standing) -> str:
    if name not in standing.scores:
        return "-"
    low, high = standing.intervals[name]
    return f"{figure(name, standing.scores[name])} ±{figure(name, (high - low) / 2)}"


def _difference(name: str, found: Mapping[str, Difference]) -> tuple[str, str]:
    if name not in found:
        return "-", ""
    value, low, high, p = found[name]
    # Neither more nor fewer tokens are better: there is a difference, and no gain.
    return f"{figure(name, value, '+')} ±{figure(name, (high - low) / 2)}", f"{p:.4f}" if measure(name).better else ""
