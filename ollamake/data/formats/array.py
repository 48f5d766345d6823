"""One JSON array of objects, as a .json file often holds: cut at its commas here, decoded as lines are."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import LONGEST_ROW_BYTES, Chunk, Refused, Row, parse, too_long
from ollamake.data.formats.text import Text
from ollamake.errors import DataError

IN_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
# What decides where an element ends. Whole strings, and objects with nothing nested in them, are passed over at once.
TOKEN = re.compile(rb'"%b"|\{(?:[^"\[\]{}]++|"%b")*+\}|([\[{])|([\]}])|(,)|(")' % (IN_STRING, IN_STRING), re.DOTALL)
OPENING, CLOSING, COMMA, QUOTE = 1, 2, 3, 4
REST_OF_STRING = re.compile(IN_STRING, re.DOTALL)


@dataclass(frozen=True)
class Elements:
    """Elements of an array as they stand in the file, the first of them being element number `first`."""

    first: int
    texts: list[bytes]
    unit: ClassVar[str] = "row"

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield the object in each element."""
        for number, text in enumerate(self.texts, self.first):
            yield number, parse(text)


def array_chunks(path: Path, text: Text, block_bytes: int) -> Iterator[Chunk]:
    """Yield the elements of the array. Raises DataError when it is torn, or when more than space follows it."""
    first, texts, held_bytes = 1, list[bytes](), 0
    for number, element in enumerate(_elements(path, text, block_bytes), start=1):
        if element is not None:
            texts.append(element)
            held_bytes += len(element)
        if element is None or held_bytes >= block_bytes:
            if texts:
                yield Elements(first, texts)
            if element is None:
                yield Refused(number, too_long(Elements.unit), Elements.unit)
            first, texts, held_bytes = number + 1, [], 0
    if texts:
        yield Elements(first, texts)


class Scanner:
    """Where the elements of an array end, told from blocks of its text that follow each other."""

    def __init__(self) -> None:
        self.depth = 1  # 1 between the elements, more inside of one, 0 after the array
        self._in_string = False

    def ends(self, block: bytes) -> Iterator[int]:
        """Yield the position of every comma between elements, and of the bracket that ends the array.

        The last byte of a block must not be a backslash that belongs to what follows it.
        """
        at = self._leave_string(block) if self._in_string else 0
        for token in TOKEN.finditer(block, at):
            kind = token.lastindex
            if kind == OPENING:
                self.depth += 1
            elif kind == CLOSING:
                self.depth -= 1
            elif kind == QUOTE:  # of a string that goes on in the next block
                self._in_string = True
                return
            if (kind == COMMA and self.depth == 1) or not self.depth:
                yield token.start()
                if not self.depth:
                    return

    def _leave_string(self, block: bytes) -> int:
        found = REST_OF_STRING.match(block)
        end = found.end() if found else 0
        self._in_string = end == len(block)
        return end + 1


def _elements(path: Path, text: Text, block_bytes: int) -> Iterator[bytes | None]:
    """Yield the text of each element, None for one of more than LONGEST_ROW_BYTES."""
    scanner, held, skipping = Scanner(), bytearray(), False
    number, block_at = 1, _skip_opening(text)
    element_at = block_at
    blocks = _blocks(text, block_bytes)
    for block in blocks:
        start = 0
        for end in scanner.ends(block):
            held += block[start:end]
            if scanner.depth or number > 1 or skipping or held.strip():  # all but the nothing in []
                yield None if skipping or len(held) > LONGEST_ROW_BYTES else bytes(held)
            held, skipping = bytearray(), False
            number, start, element_at = number + 1, end + 1, block_at + end + 1
        if not scanner.depth:
            _refuse_more(path, chain([block[start:]], blocks), element_at)
            return
        if skipping or len(held) + len(block) - start > LONGEST_ROW_BYTES:
            held, skipping = bytearray(), True
        else:
            held += memoryview(block)[start:]
        block_at += len(block)
    raise DataError(
        f"ends within its JSON array: element {number} begins at byte {element_at + 1} and never ends",
        where=str(path),
        hint=f"the file was cut off, or a quote or bracket is missing there: `tail -c +{element_at + 1} {path} | "
        "head -c 300` shows it; JSON Lines (one object a line) would lose one row, not all",
    )


def _skip_opening(text: Text) -> int:
    """Read up to the bracket that opens the array; return how many bytes that were."""
    count = 1
    while text.read(1) not in (b"[", b""):
        count += 1
    return count


def _refuse_more(path: Path, rest: Iterable[bytes], at: int) -> None:
    for block in rest:
        if block.strip():
            more = at + len(block) - len(block.lstrip()) + 1
            raise DataError(
                f"goes on after the end of its JSON array, at byte {more}",
                where=str(path),
                hint="a file holds one array of objects, or one object a line: "
                f"`jq -c '.[]' {path} > rows.jsonl` makes lines of any number of arrays",
            )
        at += len(block)


def _blocks(text: Text, block_bytes: int) -> Iterator[bytes]:
    """Yield the text in blocks that end in no half of an escape."""
    half = b""
    while block := text.read(block_bytes):
        block = half + block
        half = b"\\" if (len(block) - len(block.rstrip(b"\\"))) % 2 else b""
        yield block.removesuffix(half)
