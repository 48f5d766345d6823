"""Base model, tuned model and the release that is shipped, side by side on the same items."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollamake.scoring.aggregate import Row, Statistics
from ollamake.scoring.items import require_same_items
from ollamake.scoring.names import measure
from ollamake.scoring.resampling import Difference, Interval, differences, intervals

# Of another tokenizer's tokens, these say something else.
PER_TOKEN = ("loss", "perplexity", "mean_new_tokens")


@dataclass(frozen=True)
class Standing:
    """The scores of one model on `items` items, and the 95 % interval of each."""

    items: int
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Standing":
        """Score the rows of an items.jsonl."""
        statistics = Statistics.of(rows)
        return cls(len(rows), statistics.scores(), intervals(statistics))


@dataclass(frozen=True)
class Contest:
    """The rows of each model by id: those of base and tuned are the same items, of the release what it shares."""

    base: Mapping[str, Row]
    tuned: Mapping[str, Row]
    release: Mapping[str, Row] = field(default_factory=dict)
    released_items: int = 0

    @property
    def models(self) -> dict[str, Mapping[str, Row]]:
        """The models that have an item to show, by name."""
        return {"base": self.base, "tuned": self.tuned} | ({"release": self.release} if self.release else {})

    @property
    def shared(self) -> list[Row]:
        """What the tuned model made of the items that the release answered as well."""
        return [self.tuned[item] for item in self.release]

    @property
    def same_tokens(self) -> bool:
        """Whether the release counts the same tokens; a model with another tokenizer does not."""
        return all(row["tokens"] == self.tuned[item]["tokens"] for item, row in self.release.items())


@dataclass(frozen=True)
class Comparison:
    """What the gate judges. Gains are positive where tuned is better; those of `lead` are on the release."""

    standings: Mapping[str, Standing]
    gain: Mapping[str, Difference]
    lead: Mapping[str, Difference]

    def content(self) -> dict[str, Any]:
        """Return it as JSON can hold it: the single numbers are those that DVC shows and compares."""
        models = self.standings.items()
        found = {
            "items": self.standings["tuned"].items,
            **{name: dict(standing.scores) for name, standing in models},
            "gain": {name: difference.value for name, difference in self.gain.items()},
            "p": {name: difference.p for name, difference in self.gain.items()},
        }
        intervals = {name: standing.intervals for name, standing in models} | {"gain": self.gain}
        if self.lead:
            found["release_items"] = self.standings["release"].items
            found["lead"] = {name: difference.value for name, difference in self.lead.items()}
            found["lead_p"] = {name: difference.p for name, difference in self.lead.items()}
            intervals["lead"] = self.lead
        return {**found, "intervals": {name: _ends(each) for name, each in intervals.items()}}


def read_contest(base: Path, tuned: Path, shipped: Path) -> Contest:
    """Read the answers of all three. Raises DataError when base and tuned answered different items."""
    untuned, ours, release = (_by_id(path) for path in (base, tuned, shipped))
    require_same_items(ours, untuned, base)
    # An id of the user's own may have got another text since then.
    shared = {item: row for item, row in release.items() if item in ours and row["bytes"] == ours[item]["bytes"]}
    return Contest({item: untuned[item] for item in ours}, ours, shared, len(release))


def compare(contest: Contest) -> Comparison:
    """Return every score of every model with its interval, and how much better tuned is than the others."""
    standings = {name: Standing.of(list(rows.values())) for name, rows in contest.models.items()}
    gain = _gains(list(contest.tuned.values()), list(contest.base.values()))
    lead = _gains(contest.shared, list(contest.release.values())) if contest.release else {}
    left_out = () if contest.same_tokens else PER_TOKEN
    return Comparison(standings, gain, {name: value for name, value in lead.items() if name not in left_out})


def by_task(contest: Contest, metric: str) -> dict[str, dict[str, Standing]]:
    """Return the standings of the models that have the score, by task and its number of items; all items first."""
    tasks = sorted({row["task"] for row in contest.tuned.values() if row["task"]})
    chosen = [("all", set(contest.tuned))]
    chosen += [(task, {item for item, row in contest.tuned.items() if row["task"] == task}) for task in tasks]
    found = {}
    for task, items in chosen:
        # The task is that of the items today, whatever the release called it.
        rows = {name: [row for item, row in model.items() if item in items] for name, model in contest.models.items()}
        standings = {name: Standing.of(each) for name, each in rows.items() if each}
        having = {name: standing for name, standing in standings.items() if metric in standing.scores}
        found[f"{task} ({len(items)})"] = having
    return found


def _gains(tuned: Sequence[Row], other: Sequence[Row]) -> dict[str, Difference]:
    found = differences(Statistics.of(tuned), Statistics.of(other))
    return {name: _turned(difference) if measure(name).better < 0 else difference for name, difference in found.items()}


def _turned(difference: Difference) -> Difference:
    value, low, high, p = difference
    return Difference(0 - value, 0 - high, 0 - low, p)  # not -0.0


def _by_id(path: Path) -> dict[str, Row]:
    # A blank line is nothing: DVC warns at every `dvc repro` of a file without a byte, so that of no release has one.
    lines = path.read_text(encoding="utf-8").split("\n")
    rows: list[Row] = [json.loads(line) for line in lines if line]
    return {row["id"]: row for row in rows}


def _ends(found: Mapping[str, Interval] | Mapping[str, Difference]) -> dict[str, list[float]]:
    return {name: [each.low, each.high] for name, each in found.items()}
