"""How well answers agree with their references: every score is a fraction, 0 the worst and 1 the best."""

import re
from collections.abc import Callable, Sequence
from statistics import fmean
from tempfile import TemporaryDirectory

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

Texts = Sequence[str]


def rouge_l(predictions: Texts, references: Texts) -> float:
    """Return the mean ROUGE-L F1 over words: runs of letters and digits, in any case (Lin 2004)."""
    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return fmean(
        scorer.score(reference, prediction)["rougeL"].fmeasure
        for prediction, reference in zip(predictions, references, strict=True)
    )


def bleu(predictions: Texts, references: Texts) -> float:
    """Return corpus BLEU-4 with sacrebleu's defaults: 13a tokens (most symbols are one each), exponential smoothing."""
    # force: commands that end in a separate full stop are no sign that someone tokenized them beforehand.
    return float(BLEU(force=True).corpus_score(list(predictions), [list(references)]).score) / 100


def chrf(predictions: Texts, references: Texts) -> float:
    """Return corpus chrF2 with sacrebleu's defaults: runs of up to 6 characters, without white space (Popović 2015)."""
    return float(CHRF().corpus_score(list(predictions), [list(references)]).score) / 100


def exact_match(predictions: Texts, references: Texts) -> float:
    """Return the share of answers that equal their reference but for the amount of white space."""
    return _share(predictions, references, is_exact)


def first_word_accuracy(predictions: Texts, references: Texts) -> float:
    """Return the share of answers that begin with the word their reference begins with: is it the right tool?"""
    return _share(
        predictions, references, lambda prediction, reference: prediction.split()[:1] == reference.split()[:1]
    )


def is_exact(prediction: str, reference: str) -> bool:
    """Tell whether the two are equal but for the amount of white space."""
    return prediction.split() == reference.split()


SCORES = (rouge_l, bleu, chrf, exact_match, first_word_accuracy)


class AnswerScores(evaluate.Metric):
    """All the scores as one metric of Hugging Face `evaluate`; made here, because `evaluate.load` needs a network."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(
            description=__doc__, citation="", inputs_description="answers and references", features=features
        )

    def _compute(self, predictions: Texts, references: Texts) -> dict[str, float]:
        return {score.__name__: score(predictions, references) for score in SCORES}


def answer_scores(predictions: Texts, references: Texts) -> dict[str, float]:
    """Return every score by name."""
    # `evaluate` makes a folder even for what it keeps in memory, in the user's home unless told otherwise.
    with TemporaryDirectory(prefix="ollamake-scores-") as scratch:
        metric = AnswerScores(keep_in_memory=True, cache_dir=scratch)
        scores: dict[str, float] = metric.compute(predictions=list(predictions), references=list(references))
    return scores


class _Words:
    """The words of rouge_score's own tokenizer, but of every script: that one drops all letters other than a to z."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def _share(predictions: Texts, references: Texts, agree: Callable[[str, str], bool]) -> float:
    return fmean(map(agree, predictions, references))
