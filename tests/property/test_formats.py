import gzip
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollamake.errors import DataError
from tests.reading import rows_of
from tests.unit.test_formats_reading import WRITERS, array, delimited, lines

EXAMPLES = [
    {"id": f"{number}", "instruction": f'say "{number}",\n\\{{[', "output": "é\u2028" * (number % 3)}
    for number in range(12)
]
MARKS = [b"\xef\xbb\xbf", b"\xff" * 8, bytes(8)]
ODD = [b"", b"\n", b"\r", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b"\0", b"\xff", *MARKS]
TEXTS = st.text('ab,"\n\r\\é\u2028\U0001f600[]{}', max_size=6)
ROWS = st.lists(st.fixed_dictionaries({"id": TEXTS, "instruction": TEXTS, "output": TEXTS}), min_size=1, max_size=8)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


@st.composite
def damage(draw, content):
    """Replace up to three stretches of the content, each by a few bytes, by a copy of another, or by nothing."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 1, 4, 40, 4000])))
        there = draw(st.integers(0, len(content)))
        new = draw(st.sampled_from(ODD) | st.binary(max_size=4) | st.just(content[there : there + 20]))
        content = content[:start] + new + content[end:]
    return content


def read(content, **how):
    """The rows, or the problem with the file; anything else that a reader raises fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(content)
        try:
            return rows_of(path, **how)
        except DataError as caught:
            error = caught
    assert str(path) in error.where
    assert error.hint
    str(error).encode()
    return error.problem


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=60)
@given(st.data())
def test_damaged_bytes_are_rows_or_rejected_rows_or_an_error_with_its_place(form, data):
    read(data.draw(damage(WRITERS[form](EXAMPLES))), block_bytes=data.draw(st.sampled_from([16, 1 << 20])))


@pytest.mark.parametrize("form", ["lines", "array", "csv"])
@settings(max_examples=100)
@given(st.data())
def test_where_the_blocks_end_changes_nothing_even_in_damaged_text(form, data):
    content = data.draw(damage(WRITERS[form](EXAMPLES)))
    assert read(content, block_bytes=data.draw(st.integers(1, 40))) == read(content)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda text: pa.Codec("zstd").compress(text, asbytes=True)])
@pytest.mark.parametrize("write", [lines, array])
@given(ROWS, st.integers(1, 99))
def test_what_was_written_is_what_is_read(pack, write, rows, block_bytes):
    assert [row for _, row in read(pack(write(rows)), block_bytes=block_bytes)] == rows


@given(ROWS, st.integers(1, 99), st.sampled_from(",;\t|"))
def test_what_was_written_as_csv_is_what_is_read_but_for_empty_cells(rows, block_bytes, delimiter):
    full = [{key: value for key, value in row.items() if value} for row in rows]
    found = read(delimited(rows, delimiter), block_bytes=block_bytes)
    assert [row for _, row in found] == [row for row in full if row]


@given(VALUES)
def test_an_array_is_cut_between_its_elements_whatever_they_hold(value):
    content = json.dumps([{"a": value}, value, {"b": [value]}], ensure_ascii=False).encode()
    rows = [row for _, row in read(content, block_bytes=3)]
    assert rows[::2] == [{"a": value}, {"b": [value]}]
    assert rows[1] == (value if isinstance(value, dict) else "JSON, but not an object")
