"""The test conversations to score, and their order in batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ollamake.errors import DataError
from ollamake.labels import IGNORE_INDEX


@dataclass(frozen=True)
class Item:
    """One tokenized conversation; `prompt_ids` lead up to the answer, `labels` mark the tokens that carry loss."""

    id: str
    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    prompt: str
    reference: str

    @property
    def prompt_ids(self) -> list[int]:
        """The tokens that the served model would be given, up to the first of the last answer."""
        return self.input_ids[: self.prompt_length]


def read_items(path: Path, limit: int) -> list[Item]:
    """Return the `limit` items with the lowest ids, or all for 0, by id. Raises DataError when there is none to score.

    Ids are content hashes, so this is a random sample, and new records displace only a few of it.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=[field.name for field in fields(Item)]).to_pylist()
    items = sorted((Item(**row) for row in rows), key=lambda item: item.id)[: limit or None]
    # The first token is never predicted, so a label there counts for nothing.
    if all(label == IGNORE_INDEX for item in items for label in item.labels[1:]):
        raise DataError(
            "there is nothing to score: no conversation with an answer",
            where=str(path),
            hint="raise test_fraction, or bring more records, then `dvc repro`",
        )
    return items


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
