"""Both models' answers to the same test conversations, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import DataError
from ollamake.files import read_jsonl
from ollamake.scoring.items import read_items


@dataclass(frozen=True)
class Pair:
    """A test conversation's last question, its reference answer, and what the two models said."""

    id: str
    prompt: str
    reference: str
    base: str
    tuned: str

    @property
    def same(self) -> bool:
        """Tell whether there is nothing to choose between."""
        return self.base.strip() == self.tuned.strip()


def read_pairs(test: Path, base: Path, tuned: Path, limit: int) -> list[Pair]:
    """Return the first `limit` scored conversations, all for 0; their order is a random one (see `read_items`).

    `base` and `tuned` are the items.jsonl of the two models. Raises DataError when these are of other conversations.
    """
    said = {path: {row["id"]: row["prediction"] for row in read_jsonl(path)} for path in (base, tuned)}
    items = [item for item in read_items(test, 0) if item.id in said[tuned]]
    _require_same({item.id for item in items}, said)
    return [
        Pair(item.id, item.prompt, item.reference, base=said[base][item.id], tuned=said[tuned][item.id])
        for item in items[: limit or None]
    ]


def _require_same(known: set[str], said: Mapping[Path, Mapping[str, Any]]) -> None:
    for path, answers in said.items():
        if other := known.symmetric_difference(answers):
            raise DataError(
                f"the two models did not answer the same test conversations: {len(other)} are on one side only, such "
                f"as {min(other)}",
                where=str(path),
                hint="`dvc repro judge` scores both models first",
            )
