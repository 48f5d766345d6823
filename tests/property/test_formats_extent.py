"""The size of rows, on which the bounds of memory rest, is that of the text which they unpack to."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamake.data.formats.extent import plain, row_bytes

TEXTS = st.none() | st.text("aé\U0001f600", max_size=5)
LISTS = st.none() | st.lists(TEXTS, max_size=3)
PAIR = pa.struct([("a", pa.string())])
WRITERS = {
    "string": lambda texts: pa.array(texts, pa.string()),
    "large string": lambda texts: pa.array(texts, pa.large_string()),
    "view": lambda texts: pa.array(texts, pa.string_view()),
    "binary": lambda texts: pa.array([text and text.encode() for text in texts], pa.binary()),
    "dictionary": lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
    "struct": lambda texts: pa.array(
        [{"a": text} if text else None for text in texts], pa.struct([("a", pa.string())])
    ),
}


def size(text):
    return len((text or "").encode())


@pytest.mark.parametrize("form", WRITERS)
@given(st.lists(TEXTS, min_size=1, max_size=20), st.data())
def test_a_row_is_as_large_as_its_text(form, texts, data):
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(texts))] * 2)))
    batch = pa.RecordBatch.from_arrays([WRITERS[form](texts)] * 2, ["a", "b"]).slice(start, stop - start)
    assert row_bytes(batch).tolist() == [2 * size(text) for text in texts[start:stop]]


@pytest.mark.parametrize("form", ["lists", "large lists", "lists of dictionaries"])
@given(st.lists(LISTS, min_size=1, max_size=20), st.data())
def test_a_row_of_lists_is_as_large_as_all_their_texts(form, lists, data):
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(lists))] * 2)))
    column = pa.array(lists, pa.large_list(pa.string()) if form == "large lists" else pa.list_(pa.string()))
    if form == "lists of dictionaries":
        column = pa.ListArray.from_arrays(column.offsets, column.values.dictionary_encode(), mask=column.is_null())
    batch = pa.RecordBatch.from_arrays([column], ["a"]).slice(start, stop - start)
    assert row_bytes(batch).tolist() == [sum(map(size, texts or [])) for texts in lists[start:stop]]


def test_a_map_is_as_large_as_its_keys_and_values():
    column = pa.array([[("ab", "c")], None, [("d", "e"), ("f", None)]], pa.map_(pa.string(), pa.string()))
    assert row_bytes(pa.RecordBatch.from_arrays([column], ["a"])).tolist() == [3, 0, 3]


def test_a_column_whose_values_stand_for_any_number_of_others_is_refused():
    column = pa.RunEndEncodedArray.from_arrays(pa.array([9], pa.int32()), pa.array(["x"]))
    with pytest.raises(NotImplementedError, match="run_end_encoded"):
        row_bytes(pa.RecordBatch.from_arrays([column], ["a"]))


def test_the_plain_form_has_the_same_values_and_no_dictionaries():
    words = pa.array(["a", "b", None]).dictionary_encode()
    column = pa.ListArray.from_arrays([0, 2, 3], pa.StructArray.from_arrays([words], ["role"]))
    assert plain(column).to_pylist() == column.to_pylist()
    assert plain(column).type == pa.list_(pa.struct([("role", pa.string())]))
    assert plain(pa.array([b"\x01" * 16], pa.uuid())).type == pa.binary(16)
