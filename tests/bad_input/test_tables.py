"""Bad tables: a row that cannot be used is rejected, a file whose rows are in doubt is refused, none runs any code."""

import io
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ollamake.data.conversations import text_in
from ollamake.data.findings import Rejected
from ollamake.data.formats.listing import list_files
from ollamake.data.formats.reading import chunks
from tests.bad_input.verdicts import DROPPED, KEPT, REFUSED
from tests.reading import PAIR, read_apart, refusal, rows_of

PAIRS = pa.table({"instruction": ["ask"] * 3, "output": ["say", None, "so"]})
ROWS = [(1, PAIR), (2, {"instruction": "ask"}), (3, {"instruction": "ask", "output": "so"})]
TURNS = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]


def write(path, table, **how):
    if path.suffix == ".parquet":
        pq.write_table(table, path, **how)
    else:
        new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.fixture(params=["a.parquet", "a.arrow", "a.stream"])
def path(tmp_path, request):
    return tmp_path / request.param


@pytest.fixture
def csv_file(tmp_path):
    def write_csv(content, name="a.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write_csv


def test_a_table_is_read_with_absent_values_left_out(path):
    assert rows_of(write(path, PAIRS)) == ROWS


@pytest.mark.r5(32, REFUSED)
@pytest.mark.parametrize("cut", [1, 8, 60, 200])
def test_a_torn_table_is_refused(path, cut):
    content = write(path, PAIRS).read_bytes()
    path.write_bytes(content[:-cut])
    assert "is torn or damaged" in (problem := refusal(path).problem) or "without its end" in problem


@pytest.mark.r5(32, REFUSED)
def test_an_arrow_stream_that_ends_between_two_batches_is_refused(tmp_path):
    path = write(tmp_path / "a.stream", PAIRS)
    path.write_bytes(path.read_bytes()[:-8])
    assert pa.ipc.open_stream(path.read_bytes()).read_all().num_rows == 3  # other readers do not notice
    assert refusal(path).problem == "is an Arrow stream without its end: whatever wrote it was cut off"


def test_a_table_of_no_rows_has_none(path):
    assert rows_of(write(path, PAIRS.slice(0, 0))) == []


def test_a_parquet_file_without_row_groups_has_no_rows(tmp_path):
    with pq.ParquetWriter(tmp_path / "a.parquet", PAIRS.schema):
        pass
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 0
    assert rows_of(tmp_path / "a.parquet") == []


@pytest.mark.r5(34, KEPT)
def test_nested_columns_are_messages(path):
    assert rows_of(write(path, pa.table({"messages": [TURNS, TURNS[:1]]}))) == [
        (1, {"messages": TURNS}),
        (2, {"messages": TURNS[:1]}),
    ]


@pytest.mark.r5(34, f"binary: {DROPPED}")
def test_a_binary_column_rejects_the_rows_that_would_use_it(path):
    ((_, row),) = rows_of(write(path, pa.table({"instruction": ["ask"], "output": [b"\xff\x00"]})))
    with pytest.raises(Rejected, match="output is not text"):
        text_in(row, "output")


@pytest.mark.r5(34, KEPT)
def test_columns_that_are_no_text_are_whole_numbers_or_what_python_has_for_them(path):
    moment = pa.array([2**62], pa.timestamp("ns"))
    table = pa.table({"text": ["a"], "at": moment, "on": pa.array([9], pa.date32()), "tags": [["x"]], "n": [1.5]})
    assert rows_of(write(path, table)) == [(1, {"text": "a", "at": 2**62, "on": 9, "tags": ["x"], "n": 1.5})]


@pytest.mark.r5(34, f"not UTF-8: {REFUSED}")
def test_text_that_is_not_utf_8_refuses_the_table(path):
    bad = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    assert "Invalid UTF8" in refusal(write(path, pa.table({"text": bad}))).problem


@pytest.mark.r5(35, KEPT)
def test_shards_with_other_columns_are_each_read_as_they_are(tmp_path):
    write(tmp_path / "0.parquet", PAIRS)
    write(tmp_path / "1.parquet", pa.table({"messages": [TURNS], "output": [7]}))
    write(tmp_path / "2.arrow", pa.table({"instruction": pa.array(["ask"]).dictionary_encode(), "output": ["say"]}))
    read = [row for shard in list_files(tmp_path, "all") for _, row in rows_of(shard)]
    assert read == [*[row for _, row in ROWS], {"messages": TURNS, "output": 7}, PAIR]


@pytest.mark.r5(35, f"one name twice: {REFUSED}")
def test_two_columns_of_one_name_are_refused(path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert refusal(write(path, table)).problem == "has two columns named 'text'"


def dictionary_of(value, times):
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


@pytest.mark.r5(36, REFUSED)
@pytest.mark.parametrize("form", ["a dictionary", "a dictionary within lists"])
def test_a_dictionary_bomb_is_refused_before_it_fills_the_memory(path, form):
    column = dictionary_of("x" * 10_000_000, 100_000)
    if form == "a dictionary within lists":
        column = pa.ListArray.from_arrays(pa.array(range(100_001), pa.int32()), column)
    # Parquet writers keep a smaller dictionary by default, and would write the value again and again.
    large = {"dictionary_pagesize_limit": 1 << 30} if path.suffix == ".parquet" else {}
    write(path, pa.table({"text": column}), **large)
    refused_as_a_bomb(path)


@pytest.mark.r5(36, REFUSED)
def test_a_value_that_parquet_keeps_once_for_many_rows_is_refused_as_a_bomb(tmp_path):
    refused_as_a_bomb(write(tmp_path / "a.parquet", pa.table({"text": ["x" * 1_000_000] * 300})))


def refused_as_a_bomb(path):
    assert path.stat().st_size < 12 << 20
    peak, verdicts = read_apart(path)
    assert verdicts == ["unpacks to more than 100 times its size, as no real text does"]
    assert peak < 256 << 20


def test_a_value_that_many_rows_share_makes_no_chunk_large(path):
    column = dictionary_of("x" * 1_000_000, 40)
    found = list(chunks(write(path, pa.table({"text": column})), block_bytes=2_500_000))
    assert len(found) == 20
    assert max(len(chunk.stream) for chunk in found) < 2_600_000
    assert sum(1 for chunk in found for _ in chunk.rows()) == 40


def test_a_row_of_more_than_16_mb_is_rejected_and_the_next_one_read(path):
    table = pa.table({"text": ["a", "x" * (17 << 20), "b"]})
    assert rows_of(write(path, table)) == [(1, {"text": "a"}), (2, "a row of more than 16 MB"), (3, {"text": "b"})]


@pytest.mark.r5(37, KEPT)
def test_quotes_hold_newlines_delimiters_and_doubled_quotes(csv_file):
    path = csv_file('instruction,output\n"line 1\nline, 2","say ""so"""\r\n\nask,say\n')
    assert rows_of(path) == [(2, {"instruction": "line 1\nline, 2", "output": 'say "so"'}), (5, PAIR)]


@pytest.mark.r5(37, f"ragged: {DROPPED}")
def test_a_ragged_row_is_rejected_with_its_line(csv_file):
    path = csv_file("instruction,output\nask\nask,say\nask,say,more\n")
    ragged = "more or fewer cells than the header"
    assert rows_of(path) == [(2, ragged), (3, PAIR), (4, ragged)]


@pytest.mark.r5(37, KEPT)
def test_a_formula_is_text_and_an_empty_cell_is_no_field(csv_file):
    path = csv_file("instruction,input,output\n=cmd|' /C calc'!A0,,@SUM(1)\n,,\n")
    assert rows_of(path) == [(2, {"instruction": "=cmd|' /C calc'!A0", "output": "@SUM(1)"})]


@pytest.mark.r5(37, f"quote never closed: {REFUSED}")
@pytest.mark.parametrize("rest", ["ask,say\n" * 9, "", 'ask,"say"\n'])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(csv_file, rest):
    path = csv_file('instruction,output\nask,say\nask,"say\nask,say\n' + rest)
    assert refusal(path).where == f"{path}, line 3"


@pytest.mark.r5(37, f"in the last line: {DROPPED}")
def test_a_quote_within_one_line_costs_that_line(csv_file):
    assert rows_of(csv_file('instruction,output\n"a"b,say\nask,say\n')) == [(2, "not valid CSV"), (3, PAIR)]
    assert rows_of(csv_file('instruction,output\nask,say\nask,"sa')) == [(2, PAIR), (3, "not valid CSV")]


@pytest.mark.r5(7, DROPPED)
def test_a_cell_that_is_not_utf_8_rejects_its_row(csv_file):
    path = csv_file(b"instruction,output\ncaf\xe9,say\nask,say\n")
    assert rows_of(path) == [(2, "not valid UTF-8"), (3, PAIR)]


@pytest.mark.r5(38, f"{KEPT} (; tab |)")
@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "data"])
def test_the_delimiter_is_told_from_the_header(csv_file, delimiter, name):
    text = f"instruction{delimiter} output\nask{delimiter}say\n"
    assert rows_of(csv_file(text, name)) == [(2, PAIR)]


@pytest.mark.r5(38, f"any other: {REFUSED}")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("instruction^output\nask^say\n", "the header names no known field: instruction^output"),
        ("question,answer\nask,say\n", "the header names no known field: question,answer"),
        ("ask,say\nask,say\n", "the header names no known field: ask,say"),
        ("text,text\na,b\n", "the header names 'text' twice"),
        ("instruction,output\rask,say\r", "the header names no known field: instruction,output\\rask,say"),
    ],
)
def test_a_header_of_no_known_field_is_refused_and_shown(csv_file, text, problem):
    assert refusal(csv_file(text)).problem == problem


class Planted:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.r5(39, f"{KEPT}, never loaded")
def test_pickles_in_the_metadata_of_a_table_are_never_loaded(path):
    planted = pickle.dumps(Planted())
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(planted)  # noqa: S301 - that this would be noticed
    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": planted}
    schema = pa.schema(
        [pa.field("text", pa.string(), metadata=extension)],
        metadata={"pandas": json.dumps({"columns": [], "index_columns": ["x"]}), "PANDAS_PICKLE": planted},
    )
    assert rows_of(write(path, pa.table([["a"]], schema=schema))) == [(1, {"text": "a"})]


@pytest.mark.r5(39, f"as data: {REFUSED}")
def test_a_pickle_in_place_of_a_table_is_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Planted(), protocol=4))
    assert refusal(tmp_path / "a.pkl").problem == "is a Python pickle, which is never loaded here"


def test_views_as_polars_writes_them_are_read(tmp_path):
    table = pa.table({"instruction": pa.array(["ask", None, "a" * 40], pa.string_view()), "output": ["b"] * 3})
    found = rows_of(write(tmp_path / "a.arrow", table))
    assert [row.get("instruction") for _, row in found] == ["ask", None, "a" * 40]


def test_a_spreadsheet_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"PK\x03\x04" + io.BytesIO(bytes(9)).getvalue())
    assert "spreadsheet" in refusal(tmp_path / "a.csv").problem


def test_a_value_that_python_cannot_hold_rejects_its_row(path):
    days = pa.array([[1], [2**30]], pa.list_(pa.int32())).view(pa.list_(pa.date32()))
    (_, fine), (_, verdict) = rows_of(write(path, pa.table({"text": ["a", "b"], "on": days})))
    assert fine["text"] == "a"
    assert verdict == "a value that Python cannot hold"
