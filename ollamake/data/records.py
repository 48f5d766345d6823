"""From a chunk of a data file to finished lines, in a worker process, and to what else is known of each row."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ollamake.data.columns import Columns, Entry
from ollamake.data.conversations import Content, Repair, clean
from ollamake.data.fields import beside, number_in
from ollamake.data.findings import Finding, Findings, Place, Rejected, excerpt_of
from ollamake.data.formats.reading import chunks
from ollamake.data.formats.rows import Chunk, Row
from ollamake.data.near import sketch
from ollamake.data.preferences import Preference
from ollamake.data.shapes import layout_of
from ollamake.data.sources import Source
from ollamake.data.split import HASH_BYTES, content_hash, opening, place_hash, reply, said

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTENT_HASH = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Piece:
    """A chunk, the file that it is of, and the number of its source."""

    chunk: Chunk
    file: str
    source: int


@dataclass
class Batch:
    """What became of the rows of one piece."""

    file: str
    unit: str
    source: int
    rows: int = 0
    lines: bytes = b""
    sketches: "NDArray[np.uint32] | None" = None
    columns: Columns = field(default_factory=Columns)
    tasks: dict[str, int] = field(default_factory=lambda: {"": 0})
    rejected: Findings = field(default_factory=Findings)
    repaired: Findings = field(default_factory=Findings)
    ignored: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)


class Record(NamedTuple):
    """A usable row: what it says, cleaned, what is thought of its answer, what it says about itself, what of it is not
    used, and what was repaired.
    """

    content: Content
    preference: Preference
    beside: dict[str, Any]
    ignored: list[str]
    repairs: set[Repair]


def read_record(row: Row, shape: str) -> Record:
    """Return what a row says. Raises Rejected when it cannot be used."""
    found = layout_of(row, shape)
    content, repairs = clean(found.shape.read(row))
    judge = found.shape.judge
    preference = judge(row, content, repairs) if judge and not isinstance(content, str) else {}
    return Record(content, preference, beside(row, found.beside, repairs), found.ignored(row), repairs)


def findings_of(path: Path, shape: str, kinds: Counter[str] | None = None) -> Iterator[Finding]:
    """Yield what is wrong with each row of a file, rejected and repaired ones; count the usable ones by kind."""
    for chunk in chunks(path):
        for number, row in chunk.rows():
            place = Place(str(path), chunk.unit, number)
            try:
                record = read_record(_given(row), shape)
            except Rejected as verdict:
                yield _rejection(place, row, verdict)
            else:
                if kinds is not None:
                    kinds[_kind(record)] += 1
                yield from (_repair(place, row, repair) for repair in sorted(record.repairs))


@dataclass(frozen=True)
class Reader:
    """Turns pieces into batches. `order` is the train_order; `sketched` says whether near duplicates are looked for."""

    sources: tuple[Source, ...]
    seed: int
    order: str
    sketched: bool

    def __call__(self, piece: Piece) -> Batch:
        """Return the usable rows of the piece as lines, with their columns, and the findings about all of them."""
        batch = Batch(piece.file, piece.chunk.unit, piece.source)
        usable: list[tuple[bytes, str, Entry]] = []
        for number, row in piece.chunk.rows():
            batch.rows += 1
            try:
                usable.append(self._add(batch, number, _given(row)))
            except Rejected as verdict:
                place = Place(batch.file, batch.unit, number)
                batch.rejected.add(verdict.reason, partial(_rejection, place, row, verdict))
        batch.lines = b"".join(line for line, _, _ in usable)
        batch.columns.fill([entry for _, _, entry in usable])
        batch.sketches = sketch([prompt for _, prompt, _ in usable]) if self.sketched else None
        return batch

    def _add(self, batch: Batch, number: int, row: Row) -> tuple[bytes, str, Entry]:
        """Add a row to the findings; return its line, the prompt to sketch, and what is to be known of it."""
        source = self.sources[batch.source]
        record = read_record(row, source.shape)
        content, preference, about, unused, repairs = record
        order = self._order(row, record)
        if unused:
            batch.ignored.update(unused)
        if preference:
            batch.judged[_kind(record)] += 1
        for repair in repairs:
            batch.repaired.add(repair, partial(_repair, Place(batch.file, batch.unit, number), row, repair))
        if source.task:
            about.setdefault("task", source.task)
        if len(self.sources) > 1:
            about.setdefault("source", source.name)

        digest = content_hash(content, preference)
        prompt = opening(content)
        place = place_hash(prompt, self.seed)
        answer = place if isinstance(content, str) else _hash(reply(content, preference))
        own_id = about.pop("id", None)
        line = _line(own_id or digest.hex(), content, preference, about)
        name = identity(own_id) if own_id else digest
        weight = about.get("weight", 1.0) * source.weight
        task = batch.tasks.setdefault(about.get("task", ""), len(batch.tasks))
        return line, said(prompt), (digest, place, answer, name, len(line), number, weight, task, order)

    def _order(self, row: Row, record: Record) -> float:
        if self.order == "length":
            content, rejected = record.content, record.preference.get("rejected", "")
            texts = [content] if isinstance(content, str) else [message["content"] for message in content]
            return sum(map(len, texts)) + len(rejected)
        return number_in(row, self.order.removeprefix("field:")) if self.order.startswith("field:") else 0.0


def identity(own_id: str) -> bytes:
    """Return 64 bits that tell ids apart; those of an id that is a content hash are that hash."""
    return bytes.fromhex(own_id) if CONTENT_HASH.fullmatch(own_id) else _hash(own_id)


def with_id(line: bytes, own_id: str) -> bytes:
    """Return the line of a row with another id."""
    return orjson.dumps({**orjson.loads(line), "id": own_id}, option=orjson.OPT_APPEND_NEWLINE)


def _given(row: Row | Rejected) -> Row:
    if isinstance(row, Rejected):
        raise row
    return row


def _line(own_id: str, content: Content, preference: Preference, about: dict[str, Any]) -> bytes:
    field = "text" if isinstance(content, str) else "messages"
    return orjson.dumps({"id": own_id, field: content, **preference, **about}, option=orjson.OPT_APPEND_NEWLINE)


def _kind(record: Record) -> str:
    """Return what a record is good for, in the words of metrics/prepare.json."""
    if isinstance(record.content, str):
        return "text"
    if "rejected" in record.preference:
        return "chosen and rejected"
    return {True: "thumb up", False: "thumb down", None: "conversation"}[record.preference.get("desirable")]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:HASH_BYTES]


def _rejection(place: Place, row: Row | Rejected, verdict: Rejected) -> Finding:
    shown = verdict.excerpt if isinstance(row, Rejected) else excerpt_of(row)
    return Finding(place, "rejected", verdict.reason, verdict.detail, shown)


def _repair(place: Place, row: Row | Rejected, repair: Repair) -> Finding:
    return Finding(place, "repaired", repair, "", "" if isinstance(row, Rejected) else excerpt_of(row))
