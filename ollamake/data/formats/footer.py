"""What a Parquet file says of itself, before anything in it is unpacked.

Read here and not with pyarrow, because a damaged footer makes its accessors end the process. Thrift's compact protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md; the numbers of the fields:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

LARGEST_FOOTER_BYTES = 64 << 20
END_BYTES = 8  # the size of the footer, and PAR1
PAGE_HEADER_BYTES = 64
DICTIONARY_PAGE = 2
Fields = dict[int, Any]


@dataclass(frozen=True)
class RowGroup:
    """A row group: its size in the file and unpacked, and the most that one of its rows can take, all in bytes."""

    packed_bytes: int
    unpacked_bytes: int
    largest_row_bytes: int


def row_groups(file: BinaryIO) -> list[RowGroup]:
    """Return the row groups of a Parquet file. Raises ValueError or LookupError when its footer is damaged."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - END_BYTES))
    end = file.read()
    size = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or size > min(LARGEST_FOOTER_BYTES, length - END_BYTES):
        raise ValueError("its end is not that of a Parquet file")
    file.seek(length - END_BYTES - size)
    try:
        return [_row_group(fields, file) for fields in Thrift(file.read(size)).struct()[4]]
    except TypeError as error:
        raise ValueError("its footer is damaged") from error


def _row_group(group: Fields, file: BinaryIO) -> RowGroup:
    columns, rows = [chunk[3] for chunk in group[1]], max(1, group[3])
    # A dictionary of one long text can stand for any number of copies of it.
    largest = sum(max(column[6] // rows, -(-column[5] // rows) * _dictionary_bytes(column, file)) for column in columns)
    return RowGroup(sum(column[7] for column in columns), sum(column[6] for column in columns), largest)


def _dictionary_bytes(column: Fields, file: BinaryIO) -> int:
    """Return the unpacked size of a column's dictionary, which no text in it exceeds; 0 when it has none."""
    file.seek(max(0, column.get(11) or column[9]))
    page = Thrift(file.read(PAGE_HEADER_BYTES))
    first_fields = dict(page.fields(2))
    return first_fields[2] if first_fields[1] == DICTIONARY_PAGE else 0


class Thrift:
    """Bytes in Thrift's compact protocol. Raises ValueError or LookupError where they are none."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self) -> Fields:
        """Return the values of a struct by the numbers of their fields."""
        return dict(self.fields())

    def fields(self, most: int = 1 << 16) -> Iterator[tuple[int, Any]]:
        """Yield the numbers and values of up to `most` fields of a struct."""
        number = 0
        for _ in range(most):
            head = self._byte()
            if not head:
                return
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            yield number, kind == 1 if kind in (1, 2) else self._value(kind)

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):  # a boolean in a list takes a byte, as an 8-bit integer does
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 8):
            return self._bytes(8 if kind == 7 else self._varint())
        if kind in (9, 10):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(size)]
        if kind == 12:
            return self.struct()
        raise ValueError(f"its footer holds a value of kind {kind}")  # maps, which Parquet does not use

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._content):
            raise ValueError("its footer ends too soon")
        return self._content[self._at - size : self._at]

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
