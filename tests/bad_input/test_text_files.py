"""Bad JSON: what is wrong with one row rejects that row, what leaves the rest in doubt refuses the file."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pytest

from ollamake.data.conversations import text_in
from ollamake.data.findings import Rejected
from ollamake.data.formats.reading import chunks
from ollamake.data.records import findings_of
from tests.bad_input.verdicts import DROPPED, KEPT, REFUSED
from tests.reading import LARGEST_ROWS, PAIR, read_apart, refusal, rows_of

ROW = json.dumps(PAIR).encode()
DEEP = b"[" * 10_000 + b"]" * 10_000
GOOD = (3, PAIR)
BOMBS = [
    pytest.param("gzip", marks=pytest.mark.r5(41, REFUSED)),
    pytest.param("zstd", marks=pytest.mark.r5(41, REFUSED)),
]


@pytest.fixture
def file(tmp_path):
    def write(content, name="a.jsonl"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.r5(1, REFUSED)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_is_refused(file, name):
    assert refusal(file(b"", name)).problem == "is empty"


def test_only_newlines_are_no_rows(file):
    assert rows_of(file(b"\n\r\n \n")) == []


@pytest.mark.r5(3, KEPT)
def test_a_missing_last_newline_loses_nothing(file):
    assert rows_of(file(ROW + b"\n" + ROW)) == [(1, PAIR), (2, PAIR)]


@pytest.mark.r5(4, DROPPED)
def test_a_torn_last_row_is_rejected(file):
    assert rows_of(file(ROW + b"\n" + ROW[:-5])) == [(1, PAIR), (2, "not valid JSON")]


@pytest.mark.r5(5, "repaired: left out")
@pytest.mark.parametrize("content", [ROW, b"[" + ROW + b"]", b"instruction,output\nask,say"])
def test_a_byte_order_mark_is_left_out(file, content):
    assert [row for _, row in rows_of(file(b"\xef\xbb\xbf" + content, "a.data"))] == [PAIR]


@pytest.mark.r5(6, REFUSED, "the hint is the command to convert it")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16_is_refused_with_the_command_that_makes_utf_8_of_it(file, encoding, mark):
    error = refusal(file((mark + ROW.decode()).encode(encoding)))
    assert error.problem == "is UTF-16 text"
    assert "iconv -f UTF-16" in error.hint


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param('{"output": "café"}'.encode("latin-1"), "not valid UTF-8", marks=pytest.mark.r5(7, DROPPED)),
        pytest.param(b'{"output": "a\0b"}', "not valid JSON", marks=pytest.mark.r5(9, DROPPED)),
        pytest.param(ROW + b"\r" + ROW, "not valid JSON", marks=pytest.mark.r5(10, f"lone CR: {DROPPED}")),
        pytest.param(b'{"a": ' + DEEP + b"}", "JSON nested too deeply", marks=pytest.mark.r5(13, DROPPED)),
        pytest.param(b'{"a": 1, "a": 2}', "a key that stands twice", marks=pytest.mark.r5(14, DROPPED)),
        pytest.param(b'{"a": {"b": 1, "b": 1}}', "a key that stands twice", marks=pytest.mark.r5(14, DROPPED)),
        pytest.param(b'{"a": NaN}', "a number that JSON does not have", marks=pytest.mark.r5(15, DROPPED)),
        pytest.param(b'{"a": -Infinity}', "a number that JSON does not have", marks=pytest.mark.r5(15, DROPPED)),
        pytest.param(b'{"a": 1e999}', "a number that is too large", marks=pytest.mark.r5(15, DROPPED)),
        pytest.param(
            b'{"a": 1' + b"0" * 5_000 + b"}", "not valid JSON", marks=pytest.mark.r5(16, f"5,000 digits: {DROPPED}")
        ),
        (b"null", "JSON, but not an object"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["lines", "array"])
def test_a_bad_row_is_rejected_and_the_next_one_read(file, line, reason, form):
    if form == "lines":
        assert rows_of(file(b"\n" + line + b"\n" + ROW + b"\n")) == [(2, reason), GOOD]
    else:
        assert rows_of(file(b"[" + ROW + b"," + line + b"," + ROW + b"]")) == [(1, PAIR), (2, reason), GOOD]


@pytest.mark.r5(13, DROPPED)
@pytest.mark.parametrize("depth", [90, 100, 500, *range(940, 1000)])
@pytest.mark.parametrize("around", ['{"weight": %s, "text": "a"}', '{"messages": [{"role": %s, "content": "a"}]}'])
def test_a_row_of_any_depth_is_judged_and_shown(file, depth, around):
    row = around % ("[" * depth + "]" * depth)
    (found,) = findings_of(file(row.encode()), "auto")
    assert found.verdict == "rejected"
    assert (found.reason == "JSON nested too deeply") == (depth > 98)
    assert found.excerpt.startswith(row[:20])


@pytest.mark.r5(8, DROPPED)
def test_half_of_a_surrogate_pair_rejects_its_row(file):
    ((_, row),) = rows_of(file(b'{"instruction": "a", "output": "\\ud800"}'))
    with pytest.raises(Rejected, match="half of a surrogate pair"):
        text_in(row, "output")


@pytest.mark.r5(9, f"the file {REFUSED}")
def test_a_file_of_nul_bytes_is_refused(file):
    assert refusal(file(bytes(5000))).problem == "is no text"


@pytest.mark.r5(9, DROPPED)
def test_an_escaped_nul_rejects_its_row(file):
    ((_, row),) = rows_of(file(b'{"instruction": "a\\u0000", "output": "b"}'))
    with pytest.raises(Rejected, match="a NUL character"):
        text_in(row, "instruction")


@pytest.mark.r5(10, f"CRLF {KEPT}")
def test_crlf_ends_a_line_and_blank_lines_are_passed_over(file):
    assert rows_of(file(ROW + b"\r\n\r\n" + ROW + b"\r\n")) == [(1, PAIR), GOOD]


@pytest.mark.r5(11, KEPT)
@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\u0085b", "a\x1cb\x0bc"])
def test_only_lf_ends_a_line(file, text):
    row = {"output": text}
    raw = json.dumps(row, ensure_ascii=False).encode() if text.isprintable() else json.dumps(row).encode()
    assert rows_of(file(raw + b"\n" + raw)) == [(1, row), (2, row)]


@pytest.mark.r5(12, DROPPED)
@pytest.mark.slow
@pytest.mark.parametrize("around", [(b"", b""), (b"[1,", b",2]")])
def test_a_line_of_200_mb_is_one_rejected_row_that_is_never_held(tmp_path, around):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as stream:
        stream.write(around[0] + b'{"a": "')
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}' + around[1] + (b"" if around[0] else b"\n" + ROW))
    peak, verdicts = read_apart(path)
    expected = (
        ["JSON, but not an object", "a row of more than 16 MB", "JSON, but not an object"]
        if around[0]
        else ["a line of more than 16 MB", "a row"]
    )
    assert verdicts == expected
    assert peak <= LARGEST_ROWS


@pytest.mark.r5(16, KEPT)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_of_any_size_is_kept(file, number):
    assert rows_of(file(json.dumps({"a": number}).encode())) == [(1, {"a": number})]


@pytest.mark.r5(17, KEPT)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "data"])
def test_an_array_is_read_element_by_element(file, name):
    text = json.dumps([PAIR, {"messages": [{"role": "user", "content": 'a, "]" [{\\'}]}, {}], indent=1)
    assert [row for _, row in rows_of(file(b" \n" + text.encode() + b"\n ", name))] == json.loads(text)
    assert rows_of(file(b"[ ]", name)) == []


@pytest.mark.r5(17, f"torn or gone on after its end: {REFUSED}")
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[{}, {}, {}", "ends within its JSON array: element 3 begins at byte 9 and never ends"),
        (b'[{}, {"a": "b}]', "ends within its JSON array: element 2 begins at byte 5 and never ends"),
        (b'[{}, {"a": "b\\"}]', "ends within its JSON array: element 2 begins at byte 5 and never ends"),
        (b"[", "ends within its JSON array: element 1 begins at byte 2 and never ends"),
        (b"[{}]\n[{}]", "goes on after the end of its JSON array, at byte 6"),
        (b"[{}]]", "goes on after the end of its JSON array, at byte 5"),
    ],
)
def test_an_array_that_is_not_closed_or_goes_on_is_refused(file, content, problem):
    for block_bytes in (1, 3, 1 << 20):
        assert refusal(file(content), block_bytes=block_bytes).problem == problem


def test_an_object_over_many_lines_is_refused(file):
    assert refusal(file(b'{\n"rows": []\n}', "a.json")).problem == "holds one JSON object over many lines"


@pytest.mark.r5(40, REFUSED)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "holds, inside gzip, what is a PNG picture"),
        (b"PAR1" + bytes(99), "holds, inside gzip, what is a Parquet file"),
        (gzip.compress(ROW, mtime=0), "holds, inside gzip, what is compressed with gzip"),
        (b"just a log\nof nothing\n", "is text of no known format"),
    ],
)
def test_gzip_of_something_else_is_refused_with_what_it_is(file, content, problem):
    assert refusal(file(gzip.compress(content), "a.gz")).problem == problem


@pytest.mark.r5(40, REFUSED)
def test_gzip_of_a_tar_is_refused(file):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"), io.BytesIO())
    assert refusal(file(buffer.getvalue(), "a.tar.gz")).problem == "holds, inside gzip, what is a tar archive"


@pytest.mark.r5(40, REFUSED)
@pytest.mark.parametrize("pack", [gzip.compress, lambda text: pa.Codec("zstd").compress(text, asbytes=True)])
def test_a_torn_or_damaged_stream_is_refused(file, pack):
    packed = pack(b"".join(b'{"a": %d}\n' % (number * 7919 % 10007) for number in range(5000)))
    for damaged in (packed[:-9], packed[: len(packed) // 2], packed[:-20] + b"\0" * 9 + packed[-11:]):
        assert refusal(file(damaged)).problem.startswith("is torn or damaged")


@pytest.mark.parametrize("packing", BOMBS)
@pytest.mark.parametrize("line", [b'{"a": "%b"}\n' % (b"x" * 1000), b"{" + b"x" * 1000])
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, packing, line):
    member = line * (16_000_000 // len(line))
    packed = gzip.compress(member) if packing == "gzip" else pa.Codec("zstd").compress(member, asbytes=True)
    path = tmp_path / "a.jsonl.packed"
    path.write_bytes(packed * 600)  # 10 GB
    assert path.stat().st_size < 20 << 20
    peak, verdicts = read_apart(path)
    assert verdicts == ["unpacks to more than 100 times its size, as no real text does"]
    assert peak <= LARGEST_ROWS + (0 if packing == "gzip" else 64 << 20)  # pyarrow's code takes some, once


def test_text_that_packs_well_is_no_bomb(file):
    line = b'{"a": "%b"}\n' % (b"the same words again " * 9)
    rows = sum(1 for chunk in chunks(file(gzip.compress(line * 1000))) for _ in chunk.rows())
    assert rows == 1000
