"""The test conversations to score, and their order in batches."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from ollamake.errors import DataError
from ollamake.labels import IGNORE_INDEX

CONTENT_HASH = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Item:
    """One tokenized conversation; `prompt_ids` lead up to the answer, `labels` mark the tokens that carry loss."""

    id: str
    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    prompt: str
    reference: str
    task: str = ""

    @property
    def prompt_ids(self) -> list[int]:
        """The tokens that the served model would be given, up to the first of the last answer."""
        return self.input_ids[: self.prompt_length]

    @property
    def tokens(self) -> int:
        """How many tokens carry loss; the first token is never predicted, so a label there counts for nothing."""
        return _supervised(self.labels[1:])

    @property
    def reference_tokens(self) -> int:
        """How many tokens the last answer has, with the one that ends it."""
        return _supervised(self.labels[self.prompt_length :])

    @property
    def supervised_texts(self) -> list[list[int]]:
        """The runs of tokens that carry loss: an answer each."""
        runs = groupby(self.labels[1:], key=lambda label: label != IGNORE_INDEX)
        return [list(run) for supervised, run in runs if supervised]


def read_items(path: Path, limit: int) -> list[Item]:
    """Return the `limit` items whose ids have the lowest hashes, or all for 0. Raises DataError for none to score.

    So this is a random sample, and new records displace only a few of it. An answer with a thumb down is no reference.
    """
    import pyarrow as pa

    # Mapped, not read: only the rows to score come into memory.
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    table = rows.select([field.name for field in fields(Item)])
    ids, thumbs = table["id"].to_pylist(), rows["desirable"].to_pylist()
    places = [place for place, thumb in enumerate(thumbs) if thumb is not False]
    chosen = sorted(places, key=lambda place: _hash(ids[place]))[: limit or None]
    items = [Item(**table.slice(place, 1).to_pylist()[0]) for place in chosen]
    if not (scored := [item for item in items if item.tokens]):
        raise DataError(
            "there is nothing to score: no conversation with an answer",
            where=str(path),
            hint="raise test_fraction, or bring more records, then `dvc repro`",
        )
    return scored


def require_same_items(items: Collection[str], answered: Collection[str], where: Path) -> None:
    """Raise DataError unless the model of the file `where` answered exactly these items, by their ids."""
    scored = set(items)
    if differing := scored.symmetric_difference(answered):
        raise DataError(
            f"these answers are to other conversations: {len(scored & differing)} of the {len(scored)} to compare are "
            f"not among them, such as {min(differing)}",
            where=str(where),
            hint="`dvc repro evaluate` scores both models on the same ones",
        )


def _supervised(labels: Sequence[int]) -> int:
    return sum(label != IGNORE_INDEX for label in labels)


def _hash(item_id: str) -> str:
    # prepare gives rows without an id of their own the hash of their content.
    return item_id if CONTENT_HASH.fullmatch(item_id) else sha256(item_id.encode()).hexdigest()


def batches(
    items: Sequence[Item], length: Callable[[Item], int], fits: Callable[[int, int], bool]
) -> Iterator[list[Item]]:
    """Yield batches of similar `length`, the longest first, each as large as `fits(count, longest)` lets it be."""
    batch: list[Item] = []
    for item in sorted(items, key=length, reverse=True):
        if batch and not fits(len(batch) + 1, length(batch[0])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
