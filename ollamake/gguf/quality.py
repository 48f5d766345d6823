"""What a GGUF is worth: how likely it finds the reference answers, how near its own come to them, and how fast.

The scores are few and made here, not those of `scoring`: a metric added there must not convert the model again.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ollamake.files import atomic_write
from ollamake.gguf.parity import Question
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.reference import Judgement
from ollamake.gguf.runtime import Transcript

PLOTTED = ("quantization", "size_mb", "perplexity", "trained_perplexity", "chrf", "exact_match")


@dataclass(frozen=True)
class Quality:
    """Over the probe questions that have a reference answer, cut to as many tokens as the answers.

    `perplexity` is that of the reference tokens for which llama.cpp tells a log-probability, `trained_perplexity` the
    trained model's of the same tokens. The scores of the greedy answers are fractions: chrF of all of them, the share
    that equals its reference but for white space, and the share that begins with the same word. Speeds are tokens a
    second over all answers, on the CPU, one at a time.
    """

    reference_tokens: int
    perplexity: float
    trained_perplexity: float
    chrf: float
    exact_match: float
    first_word_accuracy: float
    prompt_tokens_per_second: float
    tokens_per_second: float


def measure(
    questions: Sequence[Question],
    transcripts: Sequence[Transcript],
    forced: Sequence[Transcript],
    judgements: Sequence[Judgement],
    prompts: Prompts,
) -> Quality:
    """Return the quality that shows in the answers to `questions` and in the `forced` references, as judged.

    What there is nothing to measure on is nan: rows of plain text have no reference.
    """
    pairs = [
        (theirs, ours)
        for transcript, judgement in zip(forced, judgements, strict=True)
        for theirs, ours in zip(transcript.logprobs, judgement.logprobs, strict=True)
        if theirs is not None
    ]
    answered = [
        (transcript.text, prompts.plain(question.reference[: len(forced_one.answer)]))
        for (question, transcript), forced_one in zip(
            [pair for pair in zip(questions, transcripts, strict=True) if pair[0].reference], forced, strict=True
        )
    ]
    return Quality(
        reference_tokens=len(pairs),
        perplexity=_perplexity([theirs for theirs, _ in pairs]),
        trained_perplexity=_perplexity([ours for _, ours in pairs]),
        chrf=_chrf(answered),
        exact_match=_share(answered, lambda answer, reference: answer.split() == reference.split()),
        first_word_accuracy=_share(answered, lambda answer, reference: answer.split()[:1] == reference.split()[:1]),
        prompt_tokens_per_second=_rate(
            sum(len(one.prompt) for one in transcripts), sum(one.prompt_seconds for one in transcripts)
        ),
        # The first token of an answer comes with the prompt.
        tokens_per_second=_rate(
            sum(len(one.answer) - 1 for one in transcripts), sum(one.answer_seconds for one in transcripts)
        ),
    )


def figures(quality: Quality) -> dict[str, Any]:
    """Return the figures by name, rounded; without those that could not be measured, which JSON has no number for."""
    named = {key: round(value, 6) for key, value in asdict(quality).items() if not math.isnan(value)}
    return named | {key: round(value, 1) for key, value in named.items() if key.endswith("_per_second")}


def write_plot(path: Path, files: Sequence[tuple[str, int, Quality]]) -> None:
    """Write name, size in bytes and quality of each file as the rows of `plots/convert/quality.csv`."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, PLOTTED, lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        for name, size_bytes, quality in files:
            table.writerow({"quantization": name, "size_mb": round(size_bytes / 1e6, 1), **figures(quality)})


def _perplexity(logprobs: Sequence[float]) -> float:
    return math.exp(-fmean(logprobs)) if logprobs else math.nan


def _chrf(answered: Sequence[tuple[str, str]]) -> float:
    from sacrebleu.metrics import CHRF

    if not answered:
        return math.nan
    answers, references = zip(*answered, strict=True)
    return float(CHRF().corpus_score(list(answers), [list(references)]).score) / 100


def _share(answered: Sequence[tuple[str, str]], agree: Callable[[str, str], bool]) -> float:
    return fmean(agree(answer, reference) for answer, reference in answered) if answered else math.nan


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens and seconds else math.nan
