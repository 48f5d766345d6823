"""The scores of two builds on the same test conversations: how sure a difference is, and which answers changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ollamake.compare.build import Build, Row
from ollamake.gate.comparison import PER_TOKEN, Contest, compare
from ollamake.gate.flips import Flip, flips, has_value
from ollamake.gate.verdict import SURE
from ollamake.scoring.names import measure
from ollamake.scoring.resampling import Difference

DEFAULT_METRIC, EXACT = "rouge_l", "exact_match"
NOT_SCORES = {"items", "seconds", "peak_memory_mb"}


@dataclass(frozen=True)
class Standing:
    """The scores in metrics/evaluate.json, with their intervals where there are any, on `items` conversations."""

    items: int
    scores: Mapping[str, float]
    intervals: Mapping[str, list[float]]

    @classmethod
    def of(cls, build: Build) -> "Standing":
        """Read them; builds before the gate existed have those of the tuned model under `tuned`."""
        found = build.metrics.get("evaluate", {})
        found = found["tuned"] if isinstance(found.get("tuned"), Mapping) else found
        scores = {name: value for name, value in found.items() if _is_number(value) and name not in NOT_SCORES}
        return cls(int(found.get("items", 0)), scores, found.get("intervals", {}))


@dataclass(frozen=True)
class Pairing:
    """Two builds on the conversations that both answered; `gain` is positive where `other` is better.

    `shared` counts them, `differing` those that only one answered. `flipped` are the answers with another score, the
    largest changes first. Empty, with the reason in `why_not`, where nothing can be paired.
    """

    shared: int = 0
    differing: int = 0
    gain: Mapping[str, Difference] = field(default_factory=dict)
    flipped: list[Flip] = field(default_factory=list)
    exact_gained: int = 0
    exact_lost: int = 0
    why_not: str = ""

    def is_chance(self, metric: str) -> bool:
        """Tell whether a difference as large comes by chance more often than one time in twenty."""
        return metric in self.gain and self.gain[metric].p > SURE


def deciding_metric(build: Build) -> str:
    """Return the score of the build's gate."""
    return str(build.params.get("gate_metric", DEFAULT_METRIC))


def pair(reference: Build, other: Build, metric: str) -> Pairing:
    """Compare the answers of two builds, item by item."""
    if not (reference.items and other.items):
        missing = " and ".join(build.name for build in (reference, other) if not build.items)
        return Pairing(why_not=f"nothing is paired: the answers of {missing} are not at hand")
    # An id of the user's own may have got another text since then.
    shared = [
        item
        for item, row in reference.items.items()
        if item in other.items and row["bytes"] == other.items[item]["bytes"]
    ]
    differing = len(reference.items) + len(other.items) - 2 * len(shared)
    if not shared:
        return Pairing(0, differing, why_not="nothing is paired: the test sets have no conversation in common")
    before, after = ({item: build.items[item] for item in shared} for build in (reference, other))
    gain = compare(Contest(before, after)).gain
    if any(row["tokens"] != after[item]["tokens"] for item, row in before.items()):
        gain = {name: found for name, found in gain.items() if name not in PER_TOKEN}
    return Pairing(len(shared), differing, gain, _flips(before, after, metric), *_exact(before, after))


def _flips(before: Mapping[str, Row], after: Mapping[str, Row], metric: str) -> list[Flip]:
    rows = [*before.values(), *after.values()]
    return flips(before, after, metric) if all(has_value(row, metric) for row in rows) else []


def _exact(before: Mapping[str, Row], after: Mapping[str, Row]) -> tuple[int, int]:
    """Return how many answers became exactly right, and how many ceased to be."""
    found = [(row["scores"].get(EXACT), after[item]["scores"].get(EXACT)) for item, row in before.items()]
    return sum(pair == (0.0, 1.0) for pair in found), sum(pair == (1.0, 0.0) for pair in found)


def better(name: str) -> int:
    """Return which way a figure of any stage is better: 1 higher, -1 lower, 0 neither, or nobody knows."""
    last = name.rpartition(".")[2]
    if last.endswith(("loss", "perplexity")):
        return -1
    return measure(last).better if measure(last).label != last else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
