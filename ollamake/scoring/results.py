"""What a scored model comes to, in the files that later stages and people read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ollamake.files import atomic_folder, write_json, write_jsonl
from ollamake.scoring.aggregate import Row, Statistics
from ollamake.scoring.resampling import intervals
from ollamake.scoring.score import Scored

ITEMS = "items.jsonl"


def results(scored: Scored) -> dict[str, Any]:
    """Return all scores with their 95 % intervals, of each task as well, and what computed them."""
    tasks = sorted({row["task"] for row in scored.rows if row["task"]})
    overall = _standing(scored.rows)
    return {
        **overall,
        "scores": overall["scores"] | {name: round(value, 6) for name, value in scored.overall.items()},
        "tasks": {task: _standing([row for row in scored.rows if row["task"] == task]) for task in tasks},
        "versions": scored.versions,
    }


def write_results(folder: Path, rows: Sequence[dict[str, Any]], found: Mapping[str, Any]) -> None:
    """Write items.jsonl and scores.json, without what it cost: that would make later stages run again for nothing."""
    with atomic_folder(folder) as partial:
        write_jsonl(partial / ITEMS, list(rows))
        write_json(partial / "scores.json", found)


def metrics(found: Mapping[str, Any], cost: Mapping[str, float]) -> dict[str, Any]:
    """Return what DVC shows and compares: the scores, their intervals, those of each task, and the cost."""
    by_task = {"tasks": {task: each["scores"] for task, each in found["tasks"].items()}} if found["tasks"] else {}
    return {**found["scores"], "items": found["items"], "intervals": found["intervals"], **by_task, **cost}


def _standing(rows: Sequence[Row]) -> dict[str, Any]:
    statistics = Statistics.of(rows)
    found = {name: list(interval) for name, interval in intervals(statistics).items()}
    return {"items": len(rows), "scores": statistics.scores(), "intervals": found}
