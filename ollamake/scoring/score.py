"""All the scores of one model, by the same code for the base model and the tuned one."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tokenizers import Tokenizer

from ollamake.base import Base
from ollamake.device import Precision
from ollamake.errors import BaseModelError, ParamsError
from ollamake.peak import resident_peak_mb
from ollamake.progress import progress
from ollamake.scoring.answers import Answer, Greedy
from ollamake.scoring.items import Item
from ollamake.scoring.loss import supervised_loss
from ollamake.scoring.metrics import answer_scores
from ollamake.scoring.model import computing

Metrics = dict[str, float]

MAX_LOSS = 700.0  # its exponential is still a number


@dataclass(frozen=True)
class Scored:
    """A model's scores, what they cost, and its answers in the order of the items.

    `loss` is in nats a supervised token, `perplexity` its exponential; the others are described where they are made.
    """

    scores: Metrics
    cost: Metrics
    answers: list[Answer]


@dataclass(frozen=True)
class Examiner:
    """Scores models on the same items under the same conditions."""

    base: Base
    items: Sequence[Item]
    batch_size: int
    max_new_tokens: int
    precision: Precision

    def __post_init__(self) -> None:
        longest = max(item.prompt_length for item in self.items)
        room = self.base.context_length - longest
        if self.max_new_tokens > room:
            raise ParamsError(
                f"eval_max_new_tokens is {self.max_new_tokens}, but the longest prompt of {longest} tokens leaves "
                f"{room} of the {self.base.context_length} that {self.base.record['name']} can read",
                where="params.yaml",
                hint="lower eval_max_new_tokens, or max_length to leave such conversations out",
            )

    def score(self, model: Any, name: str) -> Scored:
        """Return the scores of `model`, which is called `name` in messages. Raises BaseModelError when it gives NaN."""
        started = time.monotonic()
        tokenizer = Tokenizer.from_file(str(self.base.folder / "tokenizer.json"))
        greedy = Greedy(self.base.end_ids, self.max_new_tokens, self.batch_size)
        with computing(model, self.precision):
            with progress(f"{name}, loss", len(self.items)) as advance:
                total, tokens = supervised_loss(model, self.items, advance)
            loss = total / tokens
            if not loss < MAX_LOSS:  # NaN is not, either
                raise BaseModelError(
                    f"the {name} computes a loss of {loss} nats a token",
                    hint="if training diverged, lower learning_rate; else try `precision: fp32`; then `dvc repro`",
                )
            with progress(f"{name}, answers", len(self.items)) as advance:
                answers = greedy.answer(model, tokenizer, self.items, advance)
        scores = {
            "loss": loss,
            "perplexity": math.exp(loss),
            **answer_scores([answer.text for answer in answers], [item.reference for item in self.items]),
            "items": len(self.items),
            "mean_new_tokens": fmean(answer.new_tokens for answer in answers),
            "stopped_fraction": fmean(answer.stopped for answer in answers),
        }
        cost = {"seconds": round(time.monotonic() - started, 1), "peak_memory_mb": resident_peak_mb()}
        return Scored({key: round(value, 6) for key, value in scores.items()}, cost, answers)
