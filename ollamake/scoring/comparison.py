"""The tuned model beside the base model: what was gained, as numbers, as a chart's data and as a table."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ollamake.errors import DataError
from ollamake.files import atomic_write
from ollamake.scoring.items import Item

Metrics = Mapping[str, float]

NAMES = {
    "loss": "loss, nats a token",
    "perplexity": "perplexity",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "exact match",
    "first_word_accuracy": "first word right",
    "stopped_fraction": "ended by itself",
    "mean_new_tokens": "tokens an answer",
}
FRACTIONS = ("first_word_accuracy", "exact_match", "rouge_l", "bleu", "chrf", "stopped_fraction")


def require_same_items(items: Sequence[Item], answered: Collection[str], where: Path) -> None:
    """Raise DataError unless the base model answered exactly these items, by the ids `answered`."""
    scored = {item.id for item in items}
    if differing := scored.symmetric_difference(answered):
        raise DataError(
            f"the base model was scored on other conversations: it answered {len(scored & differing)} of the "
            f"{len(scored)} not at all, such as {min(differing)}",
            where=str(where),
            hint="`dvc repro evaluate` scores the base model first",
        )


def compare(base: Metrics, tuned: Metrics) -> dict[str, Metrics]:
    """Return both models' scores and what was gained: tuned minus base, so a lower loss is a negative gain."""
    gain = {key: round(tuned[key] - base[key], 6) for key in tuned if key != "items"}
    return {"base": {key: base[key] for key in tuned}, "tuned": dict(tuned), "gain": gain}


def write_scores(path: Path, scores: Mapping[str, Metrics]) -> None:
    """Write those scores that are fractions as rows of metric, model and score."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["metric", "model", "score"])
        for key in FRACTIONS:
            rows.writerows([NAMES[key], model, scores[model][key]] for model in ("base", "tuned"))


def table(scores: Mapping[str, Metrics]) -> str:
    """Return the scores as aligned lines for a person to read, fractions in percent."""
    names = {key: f"{name}, %" if key in FRACTIONS else name for key, name in NAMES.items()}
    head = f"{scores['tuned']['items']} test conversations"
    width = max(len(head), *map(len, names.values()))
    lines = [f"{head:<{width}}{'base':>10}{'tuned':>10}{'gain':>10}"]
    for key, name in names.items():
        scale, digits = (100, 1) if key in FRACTIONS else (1, 3 if key == "loss" else 2)
        base, tuned, gain = (scale * scores[column][key] for column in ("base", "tuned", "gain"))
        kind = "e" if max(base, tuned) >= 1e6 else "f"  # the perplexity of a model that knows nothing
        lines.append(f"{name:<{width}}{base:>10.{digits}{kind}}{tuned:>10.{digits}{kind}}{gain:>+10.{digits}{kind}}")
    return "\n".join(lines)
