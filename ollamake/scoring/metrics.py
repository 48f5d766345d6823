"""How well answers agree with their references: every score is a fraction, 0 the worst and 1 the best."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import NamedTuple

import datasets
import evaluate
import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from ollamake.scoring.aggregate import chrf

ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


class Agreement(NamedTuple):
    """How one answer agrees with its reference.

    `scores` are fractions of it alone; `statistics` are the counts whose sums over all answers make BLEU and chrF.
    """

    scores: dict[str, float]
    statistics: dict[str, list[int]]


class AnswerScores(evaluate.Metric):
    """All of them as one metric of Hugging Face `evaluate`; made here, because `evaluate.load` needs a network."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(
            description=__doc__, citation="", inputs_description="answers and references", features=features
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[Agreement]]:
        # Not BLEU's corpus default: without the effective order, an answer of under four words has no BLEU.
        bleu, rouge = BLEU(effective_order=True), RougeScorer([*ROUGE.values()], tokenizer=_Words())
        pairs = zip(predictions, references, strict=True)
        return {"agreements": [_agreement(prediction, reference, bleu, rouge) for prediction, reference in pairs]}


def agreements(predictions: Sequence[str], references: Sequence[str]) -> list[Agreement]:
    """Return how each answer agrees with its reference."""
    # `evaluate` makes a folder even for what it keeps in memory, in the user's home unless told otherwise.
    with TemporaryDirectory(prefix="ollamake-scores-") as scratch:
        metric = AnswerScores(keep_in_memory=True, cache_dir=scratch)
        found: list[Agreement] = metric.compute(predictions=list(predictions), references=list(references))[
            "agreements"
        ]
    return found


def _agreement(prediction: str, reference: str, bleu: BLEU, rouge: RougeScorer) -> Agreement:
    words = bleu.sentence_score(prediction, [reference])
    characters = _character_runs(prediction, reference)
    rouges = rouge.score(reference, prediction)
    scores = {
        **{name: rouges[key].fmeasure for name, key in ROUGE.items()},
        "bleu": words.score / 100,
        "chrf": float(chrf(np.array([characters]))[0]),
        "exact_match": float(is_exact(prediction, reference)),
        "first_word_accuracy": float(prediction.split()[:1] == reference.split()[:1]),
    }
    statistics = {"bleu": [words.sys_len, words.ref_len, *words.counts, *words.totals], "chrf": characters}
    return Agreement({name: round(float(value), 6) for name, value in scores.items()}, statistics)


def _character_runs(prediction: str, reference: str) -> list[int]:
    """Return how many runs of 1 to 6 characters the answer has, the reference, and both."""
    counts = []
    orders = (
        extract_all_char_ngrams(text, CHRF.CHAR_ORDER, include_whitespace=False) for text in (prediction, reference)
    )
    for answered, wanted in zip(*orders, strict=True):
        # sacrebleu counts no runs of the answer that are longer than the reference.
        counts += [answered.total() if wanted else 0, wanted.total(), (answered & wanted).total()]
    return counts


def is_exact(prediction: str, reference: str) -> bool:
    """Tell whether the two are equal but for the amount of white space."""
    return prediction.split() == reference.split()


def versions() -> dict[str, str]:
    """Return how each score is computed, and by which version of which package: equal texts, comparable scores."""
    # torch adds its build: 2.13.0+cpu
    nats = f"torch:{version('torch').partition('+')[0]}|transformers:{version('transformers')}"
    rouge = f"F1|words:letters and digits of every script|case:lc|rouge_score:{version('rouge_score')}"
    return {
        "loss": f"nats of the supervised tokens|{nats}",
        "perplexity": f"exp of the loss|{nats}",
        "bits_per_byte": f"nats of the supervised tokens over ln 2 times the UTF-8 bytes of their text|{nats}",
        **dict.fromkeys(ROUGE, rouge),
        "bleu": _signature(BLEU(force=True)),
        "chrf": _signature(CHRF()),
        "exact_match": "equal but for the amount of white space",
        "first_word_accuracy": "equal up to the first white space",
        "evaluate": version("evaluate"),
    }


def _signature(metric: BLEU | CHRF) -> str:
    metric.corpus_score(["a"], [["a"]])  # only then does it know that there is one reference
    return str(metric.get_signature())


class _Words:
    """The words of rouge_score's own tokenizer, but of every script: that one drops all letters other than a to z."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())
