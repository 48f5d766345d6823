"""CSV and TSV: a header with the names of the fields, then a row a record, which quotes may stretch over lines."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ollamake.data.findings import EXCERPT_CHARACTERS, Rejected, excerpt
from ollamake.data.formats.rows import LONGEST_ROW_BYTES, Chunk, Row, too_long
from ollamake.data.formats.text import Text
from ollamake.errors import DataError

DELIMITERS = ",;\t|"
# A header has at least one of these, or nothing in the file could become a training example, or tell the loss of one.
EXAMPLE_FIELDS = {"instruction", "prompt", "text", "messages", "conversations", "output", "response", "completion"}
EXAMPLE_FIELDS |= {"chosen", "rejected"}
TELLING_FIELDS = EXAMPLE_FIELDS | {"loss"}
Record = tuple[int, list[str] | Rejected]


@dataclass(frozen=True)
class Cells:
    """Records of a delimited file, each with the number of the line that it begins in; every cell is text."""

    header: list[str]
    records: list[Record]
    unit: ClassVar[str] = "line"

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield a row for each record; an empty cell is a field that the row does not have."""
        for number, cells in self.records:
            yield number, cells if isinstance(cells, Rejected) else self._row(cells)

    def _row(self, cells: list[str]) -> Row | Rejected:
        if len(cells) != len(self.header):
            detail = f"{len(cells)} instead of {len(self.header)}"
            return Rejected("more or fewer cells than the header", detail, _shown(cells))
        if sum(map(len, cells)) > LONGEST_ROW_BYTES:
            return too_long(self.unit)
        try:
            "".join(cells).encode()
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xDC00  # as surrogateescape has it
            return Rejected("not valid UTF-8", f"a byte is 0x{byte:02x}", _shown(cells))
        return {field: cell for field, cell in zip(self.header, cells, strict=True) if cell}


def delimited_chunks(path: Path, text: Text, block_bytes: int) -> Iterator[Chunk]:
    """Yield the records of a delimited file.

    Raises DataError for a header without any field that is known, and for a quote that is opened and never closed.
    """
    csv.field_size_limit(LONGEST_ROW_BYTES)
    lines = _lines(path, text, block_bytes)
    header_at, header, delimiter = _read_header(path, lines)
    records, held_characters = list[Record](), 0
    for number, record in _records(path, lines, header_at, delimiter):
        if isinstance(record, list) and not any(record):
            continue  # a blank line, or one of empty cells, as spreadsheets leave them at the end
        records.append((number, record))
        held_characters += 1 if isinstance(record, Rejected) else sum(map(len, record))
        if held_characters >= block_bytes:
            yield Cells(header, records)
            records, held_characters = [], 0
    if records:
        yield Cells(header, records)


def delimiter_of(header: str, path: Path) -> str:
    """Return the delimiter that finds the most known fields in a header, or "" when none finds any."""
    candidates = sorted(DELIMITERS, key=lambda delimiter: (delimiter == "\t") != (".tsv" in path.suffixes))
    found = {delimiter: len(TELLING_FIELDS.intersection(_names(header, delimiter))) for delimiter in candidates}
    best = max(candidates, key=found.__getitem__)  # the first of equals
    return best if found[best] else ""


def _read_header(path: Path, lines: Iterator[str]) -> tuple[int, list[str], str]:
    """Return the number of the header's line, the names in it, and what stands between them."""
    number, line = next(((number, line) for number, line in enumerate(lines, start=1) if line.strip()), (1, ""))
    delimiter = delimiter_of(line, path)
    names = _names(line, delimiter) if delimiter else []
    twice = [name for name in names if name and names.count(name) > 1]
    if delimiter and not twice:
        return number, names, delimiter
    if twice:
        problem = f"the header names {twice[0]!r} twice"
    else:
        problem = f"the header names no known field: {excerpt(line.rstrip())}"
    raise DataError(
        problem,
        where=f"{path}, line {number}",
        hint="the first line names the fields, such as instruction,output or prompt,completion or text; comma, "
        "semicolon, tab and | can stand between them",
    )


def _names(header: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _records(path: Path, lines: Iterator[str], lines_before: int, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = lines_before + reader.line_num + 1
        record: list[str] | Rejected
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # The reader goes on with the next line, so one line is lost, or as many as an open quote has swallowed.
            last = lines_before + reader.line_num
            if last > number:
                raise _unclosed(path, number, last) from error
            record = Rejected("not valid CSV", str(error))
        yield number, record


def _lines(path: Path, text: Text, block_bytes: int) -> Iterator[str]:
    """Yield the lines with their LF; bytes that are not UTF-8 become surrogates, so that their row can be rejected."""
    held, number = b"", 1
    while block := text.read(block_bytes):
        block = held + block
        end = block.rfind(b"\n") + 1
        held = block[end:]
        lines = block[:end].decode("utf-8", "surrogateescape").split("\n")[:-1]
        yield from (f"{line}\n" for line in lines)
        number += len(lines)
        if len(held) > LONGEST_ROW_BYTES:
            raise DataError(
                f"is a line of more than {LONGEST_ROW_BYTES >> 20} MB",
                where=f"{path}, line {number}",
                hint=f"`sed -n {number}p {path} | head -c 300` shows how it begins",
            )
    if held:
        yield held.decode("utf-8", "surrogateescape")


def _unclosed(path: Path, number: int, last: int) -> DataError:
    return DataError(
        f"a quote is opened in the record that begins here, and not closed properly up to line {last}",
        where=f"{path}, line {number}",
        hint=f'`sed -n {number}p {path}` shows it; within quotes a quote is written twice (""), and JSON Lines has no '
        "such trouble",
    )


def _shown(cells: list[str]) -> str:
    return excerpt(" | ".join(cell[:EXCERPT_CHARACTERS] for cell in cells[:EXCERPT_CHARACTERS]))
