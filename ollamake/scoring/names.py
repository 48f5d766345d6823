"""What each score is called, how it is written, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A score as people read it; `better` is 1 where higher is better, -1 where lower is, 0 where neither is."""

    label: str
    better: int
    fraction: bool = True
    digits: int = 3


MANY = 1e6  # the perplexity of a model that knows nothing has many digits

MEASURES: Mapping[str, Measure] = {
    "loss": Measure("loss, nats a token", -1, fraction=False),
    "perplexity": Measure("perplexity", -1, fraction=False, digits=2),
    "bits_per_byte": Measure("bits per byte", -1, fraction=False),
    "rouge_1": Measure("ROUGE-1", 1),
    "rouge_2": Measure("ROUGE-2", 1),
    "rouge_l": Measure("ROUGE-L", 1),
    "bleu": Measure("BLEU", 1),
    "chrf": Measure("chrF", 1),
    "exact_match": Measure("exact match", 1),
    "first_word_accuracy": Measure("first word right", 1),
    "stopped_fraction": Measure("ended by itself", 1),
    "mean_new_tokens": Measure("tokens an answer", 0, fraction=False, digits=1),
    "length_ratio": Measure("length / reference", 0, fraction=False, digits=2),
}


def measure(name: str) -> Measure:
    """Return the measure of that name; of the user's own scores, higher is better."""
    return MEASURES.get(name, Measure(name, 1, fraction=False))


def heading(name: str) -> str:
    """Return the label with its unit, where that is percent."""
    return f"{measure(name).label}, %" if measure(name).fraction else measure(name).label


def figure(name: str, value: float, sign: str = "") -> str:
    """Return the value as it stands in a table, fractions in percent; `sign` is "+" for a difference."""
    if measure(name).fraction:
        return f"{100 * value:{sign}z.1f}"  # z: what rounds to nothing is not -0.0
    if abs(value) >= MANY:
        return f"{value:{sign}.2e}"
    return f"{value:{sign}z.{measure(name).digits}f}"
