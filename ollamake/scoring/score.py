"""All that is measured of one model, item by item, by the same code for the base model and the tuned one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from ollamake.base import Base
from ollamake.device import Precision
from ollamake.errors import BaseModelError, ParamsError
from ollamake.peak import resident_peak_mb
from ollamake.progress import progress
from ollamake.scoring.aggregate import MAX_LOSS
from ollamake.scoring.answers import Answer, Greedy
from ollamake.scoring.items import Item
from ollamake.scoring.loss import supervised_nats
from ollamake.scoring.metrics import agreements, versions
from ollamake.scoring.model import computing
from ollamake.scoring.own import OwnMetric, OwnScores

NOTHING_OWN = OwnScores({}, {})


@dataclass(frozen=True)
class Scored:
    """A model's items in their order, as the lines of an items.jsonl, and what they cost.

    `overall` are scores of the user's own that only all answers together have; `versions` tells what made each score.
    """

    rows: list[dict[str, Any]]
    overall: Mapping[str, float]
    versions: Mapping[str, str]
    cost: dict[str, float]


@dataclass(frozen=True)
class Examiner:
    """Scores models on the same items under the same conditions."""

    base: Base
    items: Sequence[Item]
    batch_size: int
    max_new_tokens: int
    precision: Precision
    own_metric: OwnMetric | None = None

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
                nats = supervised_nats(model, self.items, advance)
            loss = sum(nats) / sum(item.tokens for item in self.items)
            if not loss < MAX_LOSS:  # NaN is not, either
                raise BaseModelError(
                    f"the {name} computes a loss of {loss} nats a token",
                    hint="if training diverged, lower learning_rate; else try `precision: fp32`; then `dvc repro`",
                )
            with progress(f"{name}, answers", len(self.items)) as advance:
                answers = greedy.answer(model, tokenizer, self.items, advance)
        texts, references = [answer.text for answer in answers], [item.reference for item in self.items]
        own = self.own_metric.score(texts, references) if self.own_metric else NOTHING_OWN
        rows = [
            _row(item, answer, total, _bytes(tokenizer, item, self.base.end_ids))
            for item, answer, total in zip(self.items, answers, nats, strict=True)
        ]
        for number, (row, agreement) in enumerate(zip(rows, agreements(texts, references), strict=True)):
            row["scores"] = agreement.scores | {key: round(values[number], 6) for key, values in own.items.items()}
            row["statistics"] = agreement.statistics
        cost = {"seconds": round(time.monotonic() - started, 1), "peak_memory_mb": resident_peak_mb()}
        made_by = versions() | ({"eval_metric": self.own_metric.version} if self.own_metric else {})
        return Scored(rows, own.overall, made_by, cost)


def _row(item: Item, answer: Answer, nats: float, text_bytes: int) -> dict[str, Any]:
    return {
        "id": item.id,
        "task": item.task or None,
        "prompt_tokens": item.prompt_length,
        "prediction": answer.text,
        "stopped": answer.stopped,
        "new_tokens": answer.new_tokens,
        "reference_tokens": item.reference_tokens,
        "nats": round(nats, 6),
        "tokens": item.tokens,
        "bytes": text_bytes,
    }


def _bytes(tokenizer: Tokenizer, item: Item, end_ids: frozenset[int]) -> int:
    """Return the length in UTF-8 of all the text that carries loss: a conversation may have several answers."""
    runs = [[token for token in run if token not in end_ids] for run in item.supervised_texts]
    return sum(len(text.encode()) for text in tokenizer.decode_batch(runs))
