"""How many tokens the stages will see: what tokenize has counted, or an estimate from what came before it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Of plain text and markup in UTF-8, over the tokenizers of the catalog.
BYTES_PER_TOKEN = 4.0
ROW_BYTES = 100  # of a prepared row that are no text: its id, its source, the names of its fields
TEMPLATE_TOKENS = 12  # that a chat template puts around a conversation of two messages
SUPERVISED_SHARE = 0.4
SPREAD = 0.5  # of the lengths of conversations, as a share of their mean
P95 = 1.645  # standard deviations above the mean
LARGEST = 3.0  # standard deviations: how far above the mean the largest of some hundred batches lies
PACKED = 0.95

Metrics = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Split:
    """The rows of a split; `deviation` and `longest` are of a row's length in tokens."""

    rows: int
    tokens: int
    supervised: int
    deviation: float
    longest: int

    @property
    def mean(self) -> float:
        """The mean length of a row, in tokens."""
        return self.tokens / max(self.rows, 1)

    def largest_batch(self, rows: int) -> float:
        """Return the tokens of the largest batch of so many rows, among some hundred batches."""
        rows = min(rows, self.rows)
        return min(rows * self.mean + LARGEST * self.deviation * math.sqrt(rows), rows * self.longest, self.tokens)


@dataclass(frozen=True)
class Tokens:
    """The splits, and where the numbers come from; `packs` are the rows of training where they are packed."""

    train: Split
    val: Split
    test: Split
    packs: int
    basis: str
    counted: bool


def count_tokens(current: Metrics, last: Metrics, content: Mapping[str, Any], train_bytes: int) -> Tokens | None:
    """Return the tokens of params.yaml `content`, None where there is nothing to estimate them from.

    `current` returns the metrics of a stage that will not run any more, and `last` those of its last run, whatever may
    have changed since; both by the stage's name. `train_bytes` is the size of the prepared training rows.
    """
    if counted := current("tokenize"):
        return _tokens(counted, content, "counted by tokenize", counted=True)
    kept = _kept(current("prepare"), last("prepare"), content)
    if (before := last("tokenize")) and kept:
        # What tokenize dropped, it may drop again: a row of the last build stands for as many as prepare keeps now.
        grown = {name: kept.get(name, 0) / max(_offered(before[name]), 1) for name in ("train", "val", "test")}
        scaled = {name: _scaled(before[name], factor) for name, factor in grown.items()}
        return _tokens(scaled, content, "estimated from the last build", counted=False)
    if kept and train_bytes:
        return _guessed(kept, content, train_bytes)
    return None


def _kept(
    now: Mapping[str, Any] | None, before: Mapping[str, Any] | None, content: Mapping[str, Any]
) -> dict[str, int]:
    """Return the rows of each split, those of a prepare that has to run again as if it read the same records."""
    if now or not before:
        return dict(now["kept"]) if now else {}
    most = content["max_examples"] * len(before["sources"]) or before["rows"]
    share = min(most / max(before["rows"], 1), 1.0)
    return {name: round(share * rows) for name, rows in before["kept"].items()}


def _offered(split: Mapping[str, Any]) -> int:
    return int(split["rows"]) + sum(map(int, split["dropped"].values()))


def _scaled(split: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {**split, **{key: round(split[key] * factor) for key in ("rows", "tokens", "supervised_tokens")}}


def _tokens(found: Mapping[str, Any], content: Mapping[str, Any], basis: str, *, counted: bool) -> Tokens:
    train = _split(found["train"], content["max_length"])
    packs = found["train"].get("packs", {}).get("rows") if counted else None
    return Tokens(
        train=train,
        val=_split(found["val"], content["max_length"]),
        test=_split(found["test"], content["max_length"]),
        packs=(packs or _packs(train, content)) if content["packing"] else 0,
        basis=basis,
        counted=counted,
    )


def _split(found: Mapping[str, Any], max_length: int) -> Split:
    rows, tokens = found["rows"], found["tokens"]
    deviation = max(found["length_p95"] - tokens / max(rows, 1), 0) / P95
    return Split(rows, tokens, found["supervised_tokens"], deviation, min(found["length_max"], max_length))


def _packs(train: Split, content: Mapping[str, Any]) -> int:
    return math.ceil(train.tokens / (int(content["max_length"]) * PACKED))


def _guessed(kept: Mapping[str, int], content: Mapping[str, Any], train_bytes: int) -> Tokens:
    """Return an estimate from the size of the training rows as text."""
    system = len(content["system_prompt"].encode()) / BYTES_PER_TOKEN
    text = max(train_bytes / max(kept["train"], 1) - ROW_BYTES, 0) / BYTES_PER_TOKEN
    mean = min(text + TEMPLATE_TOKENS + system, content["max_length"])
    train, val, test = (_of_mean(kept.get(name, 0), mean, content["max_length"]) for name in ("train", "val", "test"))
    packs = _packs(train, content) if content["packing"] else 0
    return Tokens(train, val, test, packs, "guessed from the size of the data", counted=False)


def _of_mean(rows: int, mean: float, max_length: int) -> Split:
    tokens = round(rows * mean)
    return Split(rows, tokens, round(tokens * SUPERVISED_SHARE), mean * SPREAD, max_length)
