"""The scores of a release's test items, kept in git: what the gate of every later build compares with.

In git and not in DVC's cache: a rollback years later, on any machine, must not depend on a cache that was tidied. A
file in git should stay below a megabyte, so of a large test set less is kept: first the answers go, which only the list
of flipped items shows, then items. A hash of their id decides which, so that the same ones stay in each release and can
be compared in pairs.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ollamake.files import atomic_write
from ollamake.release.errors import ReleaseError

MAX_BYTES = 1_000_000
ANSWER, NOT_KEPT = "prediction", "(not kept: too many answers for git)"
Item = dict[str, Any]


def keep_items(source: Path, destination: Path) -> dict[str, Any]:
    """Write what is kept of `source`, models/evaluated/items.jsonl.

    Returns how many `items` there are, the sha256 of their `ids`, how many are `kept`, and whether with `answers`.
    Raises ReleaseError when there are none.
    """
    if not source.is_file():
        raise ReleaseError("the build left no scores of its test items", where=str(source), hint="`dvc repro evaluate`")
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    kept, answers = _fitting(lines)
    with atomic_write(destination) as partial:
        partial.write_text("".join(kept), encoding="utf-8", newline="")
    ids = hashlib.sha256(json.dumps([json.loads(line)["id"] for line in lines]).encode()).hexdigest()
    return {"items": len(lines), "ids": ids, "kept": len(kept), "answers": answers}


def _fitting(lines: list[str]) -> tuple[list[str], bool]:
    if _size(lines) <= MAX_BYTES:
        return lines, True
    bare = list(_without_answers(lines))
    order = sorted(range(len(bare)), key=lambda place: _hash(bare[place]))
    chosen, used = set(), 0
    for place in order:
        used += len(bare[place].encode())
        if used > MAX_BYTES:
            break
        chosen.add(place)
    return [line for place, line in enumerate(bare) if place in chosen], False


def _without_answers(lines: list[str]) -> Iterator[str]:
    for line in lines:
        item: Item = json.loads(line)
        yield json.dumps({**item, ANSWER: NOT_KEPT}, ensure_ascii=False, separators=(",", ":")) + "\n"


def _size(lines: list[str]) -> int:
    return sum(len(line.encode()) for line in lines)


def _hash(line: str) -> str:
    return hashlib.sha256(str(json.loads(line)["id"]).encode()).hexdigest()
