"""The same rows come out of every format, packed or not, whatever the file is called and however it is cut."""

import csv
import gzip
import io
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ollamake.data.findings import Rejected
from ollamake.data.formats.array import Elements
from ollamake.data.formats.delimited import Cells
from ollamake.data.formats.lines import Lines
from ollamake.data.formats.reading import chunks
from ollamake.data.formats.rows import parse
from tests.reading import rows_of

ROWS = [
    {"id": f"{number}", "instruction": f'say "{number}",\n\u2028then \\', "output": "é" * (number % 5)}
    for number in range(200)
]
# An empty cell is a field that the row does not have.
FULL = [{key: value for key, value in row.items() if value} for row in ROWS]


def lines(rows):
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def array(rows):
    return json.dumps(rows, indent=2).encode()


def delimited(rows, delimiter=","):
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["id", "instruction", "output"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=70)
    return sink.getvalue().to_pybytes()


def arrow(rows, new=pa.ipc.new_file):
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)
    return sink.getvalue().to_pybytes()


WRITERS = {
    "lines": lines,
    "array": array,
    "csv": delimited,
    "tsv": lambda rows: delimited(rows, "\t"),
    "gzip": lambda rows: gzip.compress(lines(rows)),
    "gzip in members": lambda rows: gzip.compress(lines(rows[:90])) + gzip.compress(lines(rows[90:])),
    "zstd": lambda rows: pa.Codec("zstd").compress(array(rows), asbytes=True),
    "zstd in frames": lambda rows: b"".join(
        pa.Codec("zstd").compress(lines(part), asbytes=True) for part in (rows[:90], rows[90:])
    ),
    "csv in gzip": lambda rows: gzip.compress(delimited(rows)),
    "parquet": parquet,
    "arrow file": arrow,
    "arrow stream": lambda rows: arrow(rows, pa.ipc.new_stream),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", ["data", "a.jsonl", "a.csv", "a.parquet"])
def test_what_a_file_holds_tells_its_format_and_not_its_name(tmp_path, form, name):
    if form in ("csv", "tsv", "csv in gzip") and name == "a.jsonl":
        name = "a.txt"  # text that is no JSON is what its name says
    (tmp_path / name).write_bytes(WRITERS[form](ROWS))
    expected = FULL if "csv" in form or "tsv" in form else ROWS
    assert [row for _, row in rows_of(tmp_path / name)] == expected


@pytest.mark.parametrize("form", WRITERS)
def test_where_a_file_is_cut_changes_nothing_and_every_piece_can_be_pickled(tmp_path, form):
    path = tmp_path / "data"
    path.write_bytes(WRITERS[form](ROWS))
    whole = rows_of(path)
    for block_bytes in (1, 7, 100):
        pieces = pickle.loads(pickle.dumps(list(chunks(path, block_bytes=block_bytes))))  # noqa: S301 - our own
        assert len(pieces) > 20
        assert [row for piece in pieces for row in piece.rows()] == whole
    assert {piece.unit for piece in pieces} == {"line" if form in LINED else "row"}


LINED = ("lines", "csv", "tsv", "gzip", "gzip in members", "zstd in frames", "csv in gzip")


def test_rows_keep_their_line_numbers_over_all_blocks(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(b"{}" if number % 3 else b"" for number in range(1, 100)))
    assert [number for number, _ in rows_of(path, block_bytes=5)] == [n for n in range(1, 100) if n % 3]


@pytest.mark.parametrize("block_bytes", [1 << 18, 5 << 20, 64 << 20])
def test_a_line_that_is_too_long_is_rejected_wherever_the_blocks_end(tmp_path, block_bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * (17 << 20) + b'"}\n{"a": 1}\n' + b"y" * (17 << 20))
    too_long = "a line of more than 16 MB"
    assert rows_of(path, block_bytes=block_bytes) == [(1, too_long), (2, {"a": 1}), (3, too_long)]


def test_a_rejected_row_is_shown_with_its_place_and_its_beginning():
    rejected = parse(b'{"output": tru}')
    assert isinstance(rejected, Rejected)
    assert (rejected.detail, rejected.excerpt) == ("Expecting value, column 12", '{"output": tru}')
    assert parse(b'{"a":\n tru}').detail == "Expecting value, line 2 of it, column 2"
    assert parse("caf\xe9".encode("latin-1")).detail == "byte 4 is 0xe9"
    assert len(parse(b"x" * 1000).excerpt) == 80
    assert parse(b'{"key": 1, "key": 2}').detail == "'key'"


def test_a_chunk_shows_where_its_rejected_rows_begin():
    ragged = next(iter(Cells(["text"], [(2, ["a", "b"])]).rows()))[1]
    assert (ragged.detail, ragged.excerpt) == ("2 instead of 1", "a | b")
    assert [number for number, _ in Lines(7, b"{}\n\n{}").rows()] == [7, 9]
    assert [number for number, _ in Elements(3, [b"{}", b"{}"]).rows()] == [3, 4]
