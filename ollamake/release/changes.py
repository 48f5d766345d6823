"""What changed from one release to another: in data, parameters, the served file and scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ollamake.files import read_jsonl
from ollamake.gate.comparison import PER_TOKEN
from ollamake.release.record import Record, items_path
from ollamake.scoring.aggregate import Statistics
from ollamake.scoring.resampling import Difference, differences

SHOWN_DIGITS = 8


@dataclass(frozen=True)
class Change:
    """A thing and its two values as texts; an empty one where it was not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Score:
    """A score of the released model with its 95 % interval."""

    value: float
    low: float
    high: float


def data_changes(old: Record, new: Record) -> list[Change]:
    """Return what changed in the data: rows of each split, and the files that hold other bytes."""
    rows = _apart(_texts(old.rows, "{:,} conversations"), _texts(new.rows, "{:,} conversations"))
    files = _apart(_texts(old.data, "{:.8}"), _texts(new.data, "{:.8}"))
    return [*rows, *files]


def param_changes(old: Record, new: Record) -> list[Change]:
    """Return the parameters that differ."""
    return list(_apart(_texts(old.params, "{!r}"), _texts(new.params, "{!r}")))


def model_changes(old: Record, new: Record) -> list[Change]:
    """Return what changed in the base model and in what is served."""
    return list(_apart(_served(old), _served(new)))


def scores(record: Record) -> dict[str, Score]:
    """Return the scores of the release on its own test items."""
    intervals = record.scores["intervals"]["tuned"]
    return {name: Score(value, *intervals[name]) for name, value in record.scores["tuned"].items() if name in intervals}


def score_changes(old: Record, new: Record) -> tuple[dict[str, Difference], int]:
    """Return what `new` has more of each score on the test items that both answered, and how many these are.

    Empty where they share none; of models with another tokenizer, without the scores that count tokens.
    """
    before, after = ({row["id"]: row for row in read_jsonl(items_path(record.version))} for record in (old, new))
    shared = [item for item, row in after.items() if item in before and before[item]["bytes"] == row["bytes"]]
    if not shared:
        return {}, 0
    pairs = [(after[item], before[item]) for item in shared]
    found = differences(*(Statistics.of(rows) for rows in zip(*pairs, strict=True)))
    same_tokens = all(ours["tokens"] == theirs["tokens"] for ours, theirs in pairs)
    return {name: value for name, value in found.items() if same_tokens or name not in PER_TOKEN}, len(shared)


def _served(record: Record) -> dict[str, str]:
    serving = record.serving
    return {
        "base model": f"{record.base['name']} {record.base['revision'].removeprefix('sha256:')[:12]}".strip(),
        "file": f"{serving.quantization}, {serving.size_bytes / 1e6:,.1f} MB ({serving.sha256[:SHOWN_DIGITS]})",
        "template": repr(record.template),
        "system prompt": repr(record.system),
        "license": record.license,
        "Ollama": record.server_version,
    }


def _texts(values: Mapping[str, Any], form: str) -> dict[str, str]:
    return {name: form.format(value) for name, value in values.items()}


def _apart(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name, ""), new.get(name, ""))
