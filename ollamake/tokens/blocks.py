"""Blocks of prepared records to Arrow batches, each in whatever process has time for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from ollamake.base import Base
from ollamake.chat import ChatTemplate
from ollamake.tokens.cut import TooLong
from ollamake.tokens.encode import Encoder
from ollamake.tokens.judged import JudgedEncoder
from ollamake.tokens.row import Row
from ollamake.tokens.tables import SCHEMA
from ollamake.tokens.tally import Tally
from ollamake.tokens.tasks import JUDGED, Task, reason_against
from ollamake.tokens.text import TextEncoder
from ollamake.tokens.vocabulary import Vocabulary
from ollamake.tokens.whole import WholeEncoder

BLOCK_BYTES = 1 << 18  # some thousand short records


class Block(NamedTuple):
    """Lines of the prepared file of one split."""

    split: str
    lines: list[bytes]


class Batch(NamedTuple):
    """The rows of one block, and what became of its records."""

    split: str
    rows: pa.RecordBatch
    tally: Tally


def blocks(split: str, path: Path) -> Iterator[Block]:
    """Yield the lines of `path` in blocks of a quarter of a megabyte."""
    with path.open("rb") as stream:
        while lines := stream.readlines(BLOCK_BYTES):
            yield Block(split, lines)


@dataclass(frozen=True)
class Tokenize:
    """The work on one block. What it needs of the base model is read once in each process, where it works."""

    base: Base
    system_prompt: str
    max_length: int
    too_long: TooLong
    task: Task = "sft"

    def __call__(self, block: Block) -> Batch:
        """Return the rows of the block. Raises BaseModelError where the base model cannot make any."""
        records = [orjson.loads(line) for line in block.lines]
        tally, kept = Tally(), []
        for record, rows in zip(records, self._encoded(records), strict=True):
            if len(rows) > 1:
                cut = "text" in record or self.task == "pretrain"
                tally.split += cut
                tally.turn_by_turn += not cut
            for number, row in enumerate(rows, start=1):
                row_id = record["id"] if number == 1 else f"{record['id']}/{number}"
                tally.add(row_id, row)
                if isinstance(row, Row):
                    kept.append((row_id, row, record.get("task", "")))
        return Batch(block.split, _batch(kept), tally)

    def _encoded(self, records: list[dict[str, Any]]) -> Iterator[list[Row | str]]:
        """Yield the rows of every record, in the order of the records."""
        reasons = [reason_against(record, self.task) for record in records]
        used = [record for record, reason in zip(records, reasons, strict=True) if not reason]
        talks = [record for record in used if "messages" in record]
        texts = [record["text"] for record in used if "messages" not in record]
        of_talks = self._of_conversations(talks) if talks else iter(())
        of_texts = self._texts.encode(texts) if texts else iter(())
        for record, reason in zip(records, reasons, strict=True):
            yield [reason] if reason else next(of_talks if "messages" in record else of_texts)

    def _of_conversations(self, records: list[dict[str, Any]]) -> Iterator[list[Row | str]]:
        encoder = self._conversations
        if isinstance(encoder, JudgedEncoder):
            return encoder.encode_judged(records)
        return encoder.encode([record["messages"] for record in records])

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.base.folder)

    @cached_property
    def _conversations(self) -> Encoder:
        encoder = {"pretrain": WholeEncoder, **dict.fromkeys(JUDGED, JudgedEncoder)}.get(self.task, Encoder)
        return encoder(
            template=ChatTemplate.of(self.base.folder),
            vocabulary=self._vocabulary,
            end_ids=self.base.end_ids,
            system_prompt=self.system_prompt,
            max_length=self.max_length,
            too_long=self.too_long,
        )

    @cached_property
    def _texts(self) -> TextEncoder:
        return TextEncoder.of(self.base.folder, self._vocabulary, self.max_length)


def _batch(kept: list[tuple[str, Row, str]]) -> pa.RecordBatch:
    rows = [row for _, row, _ in kept]
    columns = {
        "id": [row_id for row_id, _, _ in kept],
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
        "prompt_length": [row.prompt_length for row in rows],
        "prompt": [row.prompt for row in rows],
        "reference": [row.reference for row in rows],
        "task": [task for _, _, task in kept],
        "rejected_ids": [row.rejected_ids for row in rows],
        "desirable": [row.desirable for row in rows],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
