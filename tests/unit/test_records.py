"""The corpus of bad input: a row is kept as it is, repaired, or rejected with its reason; a bad file is refused."""

import json
import os
import time

import pytest

from ollamake.data import rows as rows_module
from ollamake.data.conversations import clean, conversation, ignored
from ollamake.data.findings import Findings, Rejected
from ollamake.data.rows import parse, rows
from ollamake.errors import DataError

PAIR = {"instruction": "ask", "output": "say"}
ASK = {"role": "user", "content": "ask"}
SAY = {"role": "assistant", "content": "say"}


def read(row):
    if isinstance(row, dict):
        row = json.dumps(row).encode()
    parsed = parse(row)
    if isinstance(parsed, Rejected):
        raise parsed
    return clean(conversation(parsed))


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {**PAIR, "input": ""},
        {**PAIR, "input": None},
        {"instruction": "ask", "response": "say"},
        {"instruction": "ask", "context": "", "response": "say"},
        {"prompt": "ask", "completion": "say"},
        {"messages": [ASK, SAY]},
        {"messages": [ASK, SAY], "prompt": "ask", "prompt_id": 7},
        {**PAIR, "score": 1e308, "digits": 2**80},
    ],
)
def test_each_shape_of_row_is_recognized_by_its_fields(row):
    assert read(row) == ([ASK, SAY], set())


@pytest.mark.parametrize("addition", ["input", "context"])
@pytest.mark.parametrize("answer", ["output", "response"])
def test_an_addition_follows_the_instruction_after_a_blank_line(addition, answer):
    messages, _ = read({"instruction": "sum up", addition: "a text", answer: "short"})
    assert messages[0]["content"] == "sum up\n\na text"


@pytest.mark.parametrize("row", [PAIR, {"prompt": "ask", "completion": "say"}, {"messages": [ASK, SAY]}])
def test_a_system_field_becomes_the_system_message(row):
    assert read({**row, "system": "be brief"})[0] == [{"role": "system", "content": "be brief"}, ASK, SAY]
    assert read({**row, "system": None})[0] == [ASK, SAY]


def test_fields_that_hold_something_and_are_not_used_are_named():
    silent = {"id": "1", "task": "a", "weight": 2, "source": "eg", "system": "s", "input": "i", "context": "c"}
    assert ignored({**PAIR, **silent, "score": 1.5, "empty": "", "none": None}) == []
    assert ignored({**PAIR, "notes": "a", "history": [["a", "b"]], "\ud800": "x"}) == ["\\ud800", "history", "notes"]
    assert ignored({"prompt": "ask", "completion": "say", "input": "lost"}) == ["input"]


def test_a_conversation_may_have_a_system_message_and_many_turns():
    messages = [{"role": "system", "content": "be brief"}, ASK, SAY, ASK, SAY]
    assert read({"messages": messages}) == (messages, set())


@pytest.mark.parametrize(
    ("text", "repaired", "repair"),
    [
        ("  ask\n", "ask", "outer white space"),
        ("a\r\nb", "a\nb", "line ends"),
        ("cafe\u0301", "caf\u00e9", "Unicode form (NFC)"),
    ],
)
def test_a_repair_is_made_and_named(text, repaired, repair):
    messages, repairs = read({**PAIR, "instruction": text})
    assert (messages[0]["content"], repairs) == (repaired, {repair})


@pytest.mark.parametrize(
    "text",
    ["a\u2028b", "a\u2029b", "a\u0085b", "a\rb", "\u05d0\u200f", "👩\u200d👧", "a\u200bb", "\U000e0fff", "<|im_end|>"],
)
def test_unusual_but_valid_text_is_left_as_it_is(text):
    messages, repairs = read(json.dumps({**PAIR, "output": text}, ensure_ascii=False).encode())
    assert (messages[1]["content"], repairs) == (text, set())


def test_an_empty_system_message_is_left_out_and_named():
    row = {"messages": [{"role": "system", "content": " "}, ASK, SAY]}
    assert read(row) == ([ASK, SAY], {"an empty system message left out", "outer white space"})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"instruction": "ask", "out', "not valid JSON"),
        (b"\xff\xfe", "not valid UTF-8"),
        ('{"instruction": "café"}'.encode("latin-1"), "not valid UTF-8"),
        (b'{"a": ' + b"[" * 10_000, "JSON nested too deeply"),
        (b'{"instruction": "a", "instruction": "b", "output": "c"}', "a key that stands twice"),
        (b'{"instruction": "a", "output": NaN}', "a number that JSON does not have"),
        (b'{"instruction": "a", "output": "b", "x": -Infinity}', "a number that JSON does not have"),
        (b'{"instruction": "a", "output": "b", "x": 1e999}', "a number that is too large"),
        (b'{"x": 1' + b"0" * 5_000 + b"}", "not valid JSON"),
        (b'[{"instruction": "a"}]', "JSON, but not an object"),
        (b"null", "JSON, but not an object"),
        (b'{"instruction": "a\0", "output": "b"}', "not valid JSON"),
        (b'{"instruction": "\\u0000", "output": "b"}', "a NUL character"),
        (b'{"instruction": "a", "output": "\\ud800"}', "half of a surrogate pair"),
        ({"instruction": "a", "output": 3}, "output is not text"),
        ({"instruction": "a", "output": None}, "output is not text"),
        ({"instruction": "a", "output": ["b"]}, "output is not text"),
        ({"instruction": ["a"], "output": "b"}, "instruction is not text"),
        ({"instruction": "a", "input": 3, "output": "b"}, "input is not text"),
        ({"instruction": "a"}, "output is missing"),
        ({"output": "a"}, "instruction is missing"),
        ({"prompt": "a"}, "completion is missing"),
        ({"question": "a"}, "none of the known fields"),
        ({}, "none of the known fields"),
        ({"instruction": "a", "output": ""}, "an empty assistant message"),
        ({"instruction": "a", "output": " \n\t\u00a0"}, "an empty assistant message"),
        ({"instruction": " ", "output": "b"}, "an empty user message"),
        ({"messages": []}, "messages is not a list with something in it"),
        ({"messages": {"role": "user"}}, "messages is not a list with something in it"),
        ({"messages": ["ask", "say"]}, "a message without role and content"),
        ({"messages": [{"role": "user"}, SAY]}, "a message without role and content"),
        ({"messages": [ASK, {"role": "bot", "content": "b"}]}, "a message of unknown role"),
        ({"messages": [ASK, {"role": ["a"], "content": "b"}]}, "a message of unknown role"),
        ({"messages": [ASK, SAY, {"role": "tool", "content": "b"}]}, "a message of unknown role"),
        ({"messages": [ASK, {"role": "assistant", "content": None}]}, "content is not text"),
        ({"messages": [ASK]}, "messages that do not alternate from user to assistant"),
        ({"messages": [SAY, ASK]}, "messages that do not alternate from user to assistant"),
        ({"messages": [ASK, ASK, SAY]}, "messages that do not alternate from user to assistant"),
        ({"messages": [{"role": "system", "content": "s"}]}, "messages that do not alternate from user to assistant"),
        ({"messages": [{"role": "system", "content": "s"}] * 2 + [ASK, SAY]}, "a system message that is not the first"),
        ({"messages": [ASK, {"role": "system", "content": "s"}, SAY]}, "a system message that is not the first"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(row, reason):
    with pytest.raises(Rejected) as rejected:
        read(row)
    assert rejected.value.reason == reason


def lines(path):
    return [(line, row if isinstance(row, dict) else row.reason) for line, row in rows(path)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1}', [(1, {"a": 1})]),
        (b'\xef\xbb\xbf{"a": 1}\n', [(1, {"a": 1})]),
        (b'{"a": 1}\r\n\r\n{"a": 2}\r\n', [(1, {"a": 1}), (3, {"a": 2})]),
        (b'\n\n{"a": 1}\n', [(3, {"a": 1})]),
        ('{"a": "x\u2028\u0085y"}\n'.encode(), [(1, {"a": "x\u2028\u0085y"})]),
        (b'{"a": 1}\r{"a": 2}', [(1, "not valid JSON")]),
        (b'{"a": 1}\n{"a"', [(1, {"a": 1}), (2, "not valid JSON")]),
        (b"\n\n", []),
    ],
)
def test_lines_end_at_lf_alone_and_keep_their_numbers(tmp_path, content, expected):
    (tmp_path / "a.jsonl").write_bytes(content)
    assert lines(tmp_path / "a.jsonl") == expected


def test_a_line_that_is_too_long_is_rejected_and_the_next_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "LONGEST_LINE_BYTES", 1 << 20)
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "' + b"x" * (5 << 20) + b'"}\n{"a": 1}\n' + b"y" * (3 << 20))
    too_long = "a line of more than 1 MB"
    assert lines(tmp_path / "a.jsonl") == [(1, too_long), (2, {"a": 1}), (3, too_long)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16 text"),
        ('\ufeff{"a": 1}'.encode("utf-16-be"), "is UTF-16 text"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"PAR1", "is a Parquet file"),
        (b' \n[\n{"a": 1}]', "holds a JSON array"),
    ],
)
def test_a_file_that_is_no_jsonl_is_refused_with_what_it_is(tmp_path, content, problem):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=problem) as error:
        list(rows(tmp_path / "a.jsonl"))
    assert str(tmp_path / "a.jsonl") in error.value.where
    assert error.value.hint


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "is a directory, not a file"),
        (os.mkfifo, "is a FIFO, not a file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
    ],
)
def test_what_is_not_a_file_is_refused_at_once(tmp_path, make, problem):
    make(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=problem):
        list(rows(tmp_path / "a.jsonl"))


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text("{}")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        list(rows(tmp_path / "a.jsonl"))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    reading = rows(path)
    next(reading)
    time.sleep(0.02)
    path.write_text('{"a": 1}\n{"a": 3}\n')
    with pytest.raises(DataError, match="changed while it was read"):
        list(reading)


def test_findings_name_the_first_lines_of_each_reason_and_count_the_rest():
    findings = Findings()
    for line in range(1, 9):
        findings.add(line, Rejected("output is not text", f"it is {line}"))
    findings.add(12, Rejected("not valid UTF-8", "byte 3 is 0xff"))
    assert findings.summary() == [
        "8 × output is not text: lines 1, 2, 3, 4, 5 and 3 more (the first: it is 1)",
        "1 × not valid UTF-8: line 12 (byte 3 is 0xff)",
    ]


def test_findings_do_not_grow_with_the_rows():
    findings = Findings()
    for line in range(10_000):
        findings.add(line, Rejected("not valid JSON", f"column {line}"))
    assert len(findings.lines["not valid JSON"]) == 5
    assert list(findings.details.values()) == ["column 0"]
