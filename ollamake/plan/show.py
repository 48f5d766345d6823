"""The plan as text for a person, and as JSON for a program."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ollamake.plan.graph import Step
from ollamake.plan.outlook import Outlook

# A stage that follows is left alone by DVC when what comes before it writes the same bytes again.
WORDS = {"runs": "runs", "follows": "follows", "restored": "from cache"}
SHOWN_REASONS = 4
MINUTE, HOUR = 60.0, 3600.0


def page(outlook: Outlook) -> Group:
    """Return the plan as tables and lines."""
    lines: list[Any] = []
    if any(step.fate != "unchanged" for step in outlook.steps):
        lines += [_table(outlook), ""]
    lines.append(_lines(_summary(outlook)))
    for caution in outlook.cautions:
        lines += ["", _lines([("✗" if caution.certain else "!", caution.problem), ("", f"hint: {caution.hint}")])]
    return Group(*lines)


def _table(outlook: Outlook) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("")
    for column in ("time", "memory", "disk"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why", ratio=1)
    for step in outlook.steps:
        if step.fate != "unchanged":
            table.add_row(step.stage, WORDS[step.fate], *_figures(step, outlook), Text(_why(step.reasons)))
    return table


def _figures(step: Step, outlook: Outlook) -> tuple[str, str, str]:
    cost = outlook.costs.get(step.stage)
    if cost is None:
        return "", "", ""
    memory = "" if cost.memory_bytes is None else size(cost.memory_bytes)
    room = sum(cost.room)
    return duration(cost.seconds), memory, size(room) if room else ""


def _why(reasons: Sequence[str]) -> str:
    """Return the first reasons and the number of the others, which `--json` has."""
    if len(reasons) <= SHOWN_REASONS:
        return "; ".join(reasons)
    return "; ".join([*reasons[: SHOWN_REASONS - 1], f"{len(reasons) - SHOWN_REASONS + 1} more reasons"])


def _lines(named: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name, text in named:
        table.add_row(name, Text(text))
    return table


def _known_from(outlook: Outlook) -> str:
    """Return on what grounds the figures are, with the stages that they hold for."""
    stages: dict[str, list[str]] = {}
    for stage, cost in outlook.costs.items():
        if cost.basis:
            stages.setdefault(cost.basis, []).append(stage)
    return "; ".join(f"{', '.join(names)}: {basis}" for basis, names in stages.items())


def _summary(outlook: Outlook) -> Iterator[tuple[str, str]]:
    """Yield the lines below the table, each with its name."""
    if idle := [step.stage for step in outlook.steps if step.fate == "unchanged"]:
        yield "unchanged", ", ".join(idle)
    if any(step.fate == "follows" for step in outlook.steps):
        yield "follows", "runs if what comes before it writes anything new"
    if (work := outlook.training) and (tokens := outlook.tokens):
        counts = f"{work.tokens:,.0f} tokens in all ({work.supervised:,.0f} of them supervised), {work.steps:,} steps"
        yield "training", f"{tokens.train.rows:,} rows, {counts}; {tokens.basis}"
    if outlook.costs:
        unknown = f", without {', '.join(outlook.untimed)}" if outlook.untimed else ""
        yield "time", f"about {duration(outlook.seconds)}{unknown}"
        if outlook.memory_bytes:
            there = f"{outlook.machine.name} has {size(outlook.machine.memory_bytes)}"
            yield "memory", f"about {size(outlook.memory_bytes)} at the peak; {there}"
        if outlook.disk_bytes:
            yield "disk", f"about {size(outlook.disk_bytes)} at once; {size(outlook.free_disk)} are free"
        yield "basis", _known_from(outlook)
    else:
        yield "time", "nothing would run"


def duration(seconds: float | None) -> str:
    """Return seconds as a person says them; `?` for None."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def size(size_bytes: float) -> str:
    """Return bytes as MB or GB."""
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:,.1f} GB"


def as_json(outlook: Outlook) -> dict[str, Any]:
    """Return the plan as plain data: seconds, bytes and words."""
    work = outlook.training
    return {
        "stages": [_entry(step, outlook) for step in outlook.steps],
        "training": None
        if work is None or outlook.tokens is None
        else {
            "rows": outlook.tokens.train.rows,
            "tokens": round(work.tokens),
            "supervised_tokens": round(work.supervised),
            "steps": work.steps,
            "trainable_parameters": work.trainable,
            "basis": outlook.tokens.basis,
        },
        "total": {
            "seconds": round(outlook.seconds, 1),
            "without": outlook.untimed,
            "peak_memory_bytes": round(outlook.memory_bytes),
            "disk_bytes": round(outlook.disk_bytes),
        },
        "machine": {**asdict(outlook.machine), "free_disk_bytes": outlook.free_disk},
        "cautions": [caution._asdict() for caution in outlook.cautions],
    }


def _entry(step: Step, outlook: Outlook) -> dict[str, Any]:
    entry: dict[str, Any] = {"stage": step.stage, "fate": step.fate, "reasons": list(step.reasons)}
    if (cost := outlook.costs.get(step.stage)) is None:
        return entry
    return entry | {
        "seconds": None if cost.seconds is None else round(cost.seconds, 1),
        "peak_memory_bytes": None if cost.memory_bytes is None else round(cost.memory_bytes),
        "memory_parts": {name: round(part) for name, part in cost.parts.items()},
        "disk_bytes": {name: round(part) for name, part in cost.room._asdict().items()},
        "basis": cost.basis,
    }
