"""A page of the answers that got better or worse, the largest changes first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ollamake.gate.comparison import Contest
from ollamake.scoring.aggregate import Row
from ollamake.scoring.blocks import LEGEND, answer_block, block, fenced
from ollamake.scoring.items import Item
from ollamake.scoring.names import MEASURES, measure

SHOWN = 10  # of each kind
NAMES = {"release": "the release", "base": "the base model"}


@dataclass(frozen=True)
class Flip:
    """An item with another score than before; `change` is positive where it got better."""

    id: str
    before: float
    after: float
    change: float


def flips(before: Mapping[str, Row], after: Mapping[str, Row], metric: str) -> list[Flip]:
    """Return the items of `before` whose score is another one in `after`, the largest changes first."""
    found = []
    for item, row in before.items():
        old, new = value_of(row, metric), value_of(after[item], metric)
        if old != new:
            found.append(Flip(item, old, new, (new - old) * measure(metric).better))
    return sorted(found, key=lambda flip: (-abs(flip.change), flip.id))


def has_value(row: Row, metric: str) -> bool:
    """Tell whether there is such a score of the item; older answers have none of a newer metric."""
    return metric in row["scores"] or metric in MEASURES


def value_of(row: Row, metric: str) -> float:
    """Return the score of one item; of its perplexity, the logarithm."""
    nats = float(row["nats"])
    if metric in ("loss", "perplexity"):
        return round(nats / int(row["tokens"]), 6)
    if metric == "bits_per_byte":
        return round(nats / max(int(row["bytes"]), 1), 6)
    if metric == "stopped_fraction":
        return float(row["stopped"])
    return float(row["scores"][metric])


def page(contest: Contest, metric: str, items: Mapping[str, Item]) -> str:
    """Return the page in Markdown; `items` has the prompt and the reference of each."""
    found = {
        name: flips(contest.models[name], contest.tuned, metric)
        for name in NAMES
        if name in contest.models and all(has_value(row, metric) for row in contest.models[name].values())
    }
    counts = [_count(name, found[name], len(contest.models[name])) for name in found]
    sections = [
        _section(
            f"{kind} than {NAMES[name]}", [flip for flip in found[name] if flip.change * sign > 0], name, contest, items
        )
        for kind, sign in (("Worse", -1), ("Better", 1))
        for name in found
    ]
    head = (
        f"# Answers that flipped\n\nBy {measure(metric).label}, the score of the gate, the largest changes first.\n\n"
    )
    return head + "".join(counts) + "\n" + LEGEND + "".join(sections)


def _count(name: str, found: Sequence[Flip], items: int) -> str:
    worse = sum(flip.change < 0 for flip in found)
    better = len(found) - worse
    return f"- against {NAMES[name]}, of {items}: {better} better, {worse} worse, {items - len(found)} as good\n"


def _section(title: str, found: Sequence[Flip], name: str, contest: Contest, items: Mapping[str, Item]) -> str:
    if not found:
        return ""
    rest = f"\n{len(found) - SHOWN} more are not shown.\n" if len(found) > SHOWN else ""
    return (
        f"\n## {title} ({len(found)})\n" + "".join(_flip(flip, name, contest, items) for flip in found[:SHOWN]) + rest
    )


def _flip(flip: Flip, name: str, contest: Contest, items: Mapping[str, Item]) -> str:
    item, old, new = items[flip.id], contest.models[name][flip.id], contest.tuned[flip.id]
    body = fenced(
        [
            block("prompt", item.prompt),
            block("reference", item.reference),
            answer_block(name, old["prediction"], stopped=old["stopped"]),
            answer_block("tuned", new["prediction"], stopped=new["stopped"]),
        ]
    )
    return f"\n### `{flip.id}` {flip.before:.3g} → {flip.after:.3g}\n\n{body}"
