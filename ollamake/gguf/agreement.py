"""How closely llama.cpp's answers follow the trained model."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.gguf.findings import Finding
from ollamake.gguf.quantizations import Quantization
from ollamake.gguf.reference import Judgement
from ollamake.gguf.runtime import Transcript

FEWEST_TOKENS = 10


@dataclass(frozen=True)
class Agreement:
    """Over all tokens that llama.cpp answered: `top1_agreement` is the share that the trained model would have chosen
    too, the others are the absolute difference of the log-probabilities, in nats, over those tokens for which
    llama.cpp tells one (nan where there is none, which is within no bound). A sequence is exact when the
    trained model, answering by itself, gives the same tokens to the end."""

    prompts: int
    tokens: int
    exact_sequences: int
    top1_agreement: float
    mean_abs_dlogprob: float
    p99_abs_dlogprob: float
    max_abs_dlogprob: float


def measure(transcripts: Sequence[Transcript], judgements: Sequence[Judgement]) -> Agreement:
    """Return the agreement over one or more transcripts, at least one token in all."""
    pairs = list(zip(transcripts, judgements, strict=True))
    # By induction: where every forced token is the first choice, free-running greedy decoding takes the same path.
    exact = sum(transcript.answer == judgement.first_choices for transcript, judgement in pairs)
    same = [
        token == choice
        for transcript, judgement in pairs
        for token, choice in zip(transcript.answer, judgement.first_choices, strict=True)
    ]
    apart = sorted(
        abs(theirs - ours)
        for transcript, judgement in pairs
        for theirs, ours in zip(transcript.logprobs, judgement.logprobs, strict=True)
        if theirs is not None
    ) or [math.nan]
    return Agreement(
        prompts=len(pairs),
        tokens=len(same),
        exact_sequences=exact,
        top1_agreement=statistics.fmean(same),
        mean_abs_dlogprob=statistics.fmean(apart),
        p99_abs_dlogprob=apart[round(0.99 * (len(apart) - 1))],
        max_abs_dlogprob=apart[-1],
    )


def check(measured: Agreement, bounds: Quantization) -> list[Finding]:
    """Return one finding a bound."""
    # One near-tie that falls the other way must not fail a proof over few tokens; it is a tenth of them at most.
    differing = round((1 - measured.top1_agreement) * measured.tokens)
    found = [
        Finding(
            "number of tokens",
            "answered tokens to measure",
            passed=measured.tokens >= FEWEST_TOKENS,
            detail=f"expected at least {FEWEST_TOKENS}, fewer prove nothing\ngot      {measured.tokens}",
        ),
        Finding(
            "numbers",
            "share of answered tokens that the trained model would choose too",
            passed=differing <= max(1, (1 - bounds.min_top1) * measured.tokens),
            detail=f"expected at least {bounds.min_top1:.0%}\ngot      {measured.top1_agreement:.1%} "
            f"of {measured.tokens} tokens",
        ),
        _at_most("mean", bounds.max_mean, measured.mean_abs_dlogprob),
    ]
    if bounds.max_p99 is not None:
        found.append(_at_most("99th percentile of the", bounds.max_p99, measured.p99_abs_dlogprob))
    return found


def _at_most(what: str, bound: float, got: float) -> Finding:
    return Finding(
        "numbers",
        f"{what} difference of the log-probabilities",
        passed=got <= bound,
        detail=f"expected at most {bound:g}\ngot      {got:.4g}",
    )
