"""Items as baseline and evaluate write them, for the tests of what reads them."""

from functools import cache
from typing import Any

import numpy as np

from ollamake.scoring.metrics import agreements

WORDS = ["ls", "-alh", "tar", "xzf", "grep", "notes.txt", "|", "sort", "git", "push", "origin", "main", ".", "a"]


@cache
def references(items: int) -> tuple[str, ...]:
    """Return so many commands of two to nine words."""
    draw = np.random.default_rng(0)
    return tuple(" ".join(draw.choice(WORDS, draw.integers(2, 10))) for _ in range(items))


def answers_to(wanted: tuple[str, ...], right: float, seed: int) -> list[str]:
    """Return each reference with about that share of its words right and the others drawn."""
    draw = np.random.default_rng(seed)
    return [
        " ".join(word if draw.random() < right else draw.choice(WORDS) for word in reference.split())
        for reference in wanted
    ]


def scored(items: int = 60, right: float = 0.7, seed: int = 1, **changes: Any) -> list[dict[str, Any]]:
    """Return the rows of a model that has that share of the words right; `changes` replace what every row says."""
    wanted = references(items)
    said = answers_to(wanted, right, seed)
    return [
        {
            "id": f"{number:016x}",
            "task": None,
            "prompt_tokens": 9,
            "prediction": text,
            "stopped": True,
            "new_tokens": len(text.split()) + 1,
            "reference_tokens": len(reference.split()) + 1,
            "nats": round(len(reference.split()) * (2 - right), 6),
            "tokens": len(reference.split()) + 1,
            "bytes": len(reference.encode()),
            "scores": agreement.scores,
            "statistics": agreement.statistics,
            **changes,
        }
        for number, (text, reference, agreement) in enumerate(zip(said, wanted, agreements(said, wanted), strict=True))
    ]
