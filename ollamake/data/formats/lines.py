"""JSON Lines: one object a line. Lines end at LF alone: U+2028, NEL and a lone CR are content."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import LONGEST_ROW_BYTES, Chunk, Refused, Row, parse, too_long
from ollamake.data.formats.text import Text


@dataclass(frozen=True)
class Lines:
    """Whole lines as they stand in the file, the first of them being line number `first`."""

    first: int
    text: bytes
    unit: ClassVar[str] = "line"

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield the object in each line; blank lines are passed over."""
        for number, line in enumerate(self.text.split(b"\n"), self.first):
            if len(line) > LONGEST_ROW_BYTES:
                yield number, too_long(self.unit)
            elif line and not line.isspace():
                yield number, parse(line)


def line_chunks(text: Text, block_bytes: int) -> Iterator[Chunk]:
    """Yield the lines of the text, read in blocks; a line is looked at in here only for where it ends."""
    first, held, skipping = 1, io.BytesIO(), False
    while block := text.read(block_bytes):
        if skipping:
            start = block.find(b"\n") + 1
            if not start:
                continue
            block, skipping = block[start:], False
        end = block.rfind(b"\n") + 1
        if end:
            held.write(memoryview(block)[:end])
            whole, held = held.getvalue(), io.BytesIO()
            yield Lines(first, whole)
            first += whole.count(b"\n")
        if held.tell() + len(block) - end > LONGEST_ROW_BYTES:
            yield Refused(first, too_long(Lines.unit), Lines.unit)
            first, held, skipping = first + 1, io.BytesIO(), True
        else:
            held.write(memoryview(block)[end:])
    if held.tell():
        yield Lines(first, held.getvalue())
