"""The quantizations side by side, for a person to read."""

import math
from collections.abc import Sequence

from ollamake.gguf.proof import Proof

COLUMNS = (
    "file",
    "size",
    "same token",
    "log-prob. apart",
    "perplexity",
    "chrF",
    "exact",
    "prompt t/s",
    "t/s",
    "checks",
)


def table(proofs: Sequence[Proof]) -> str:
    """Return a line a file under a line of names, and what the figures are over."""
    rows = [COLUMNS, *map(_row, proofs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    agreed, worth = proofs[0].agreement, proofs[0].quality
    trained = "" if math.isnan(worth.trained_perplexity) else f" (trained model: {worth.trained_perplexity:.3f})"
    lines.append(
        f"Against the trained model on {agreed.prompts} held-out prompts; perplexity of "
        f"{worth.reference_tokens} tokens of reference answers{trained}."
    )
    return "\n".join(lines)


def _row(proof: Proof) -> tuple[str, ...]:
    worth = proof.quality
    return (
        proof.built.name,
        f"{proof.size_bytes / 1e6:,.1f} MB",
        f"{proof.agreement.top1_agreement:.1%}",
        f"{proof.agreement.mean_abs_dlogprob:.4f}",
        _number(worth.perplexity, ".3f"),
        _number(worth.chrf, ".1%"),
        _number(worth.exact_match, ".1%"),
        _number(worth.prompt_tokens_per_second, ",.0f"),
        _number(worth.tokens_per_second, ",.0f"),
        str(sum(proof.checks.values())),
    )


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"
