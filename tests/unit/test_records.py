"""A row is kept as it is, repaired, or rejected with its reason."""

import json
from functools import partial

import pytest

from ollamake.data.conversations import clean
from ollamake.data.fields import beside, number_in, own_id
from ollamake.data.findings import Finding, Findings, Place, Rejected, excerpt, excerpt_of
from ollamake.data.formats.rows import parse
from ollamake.data.records import findings_of
from ollamake.data.shapes import layout_of

PAIR = {"instruction": "ask", "output": "say"}
ASK = {"role": "user", "content": "ask"}
SAY = {"role": "assistant", "content": "say"}


def read(row, shape="auto"):
    if isinstance(row, dict):
        row = json.dumps(row).encode()
    parsed = parse(row)
    if isinstance(parsed, Rejected):
        raise parsed
    return clean(layout_of(parsed, shape).shape.read(parsed))


def ignored(row, shape="auto"):
    return layout_of(row, shape).ignored(row)


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
        {"messages": [{**ASK, "name": "a", "tool_calls": None}, SAY], "text": "all of it"},
        {"conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "say"}]},
        {"conversations": [{"from": "user", "value": "ask"}, {"from": "assistant", "value": "say"}]},
        {"conversations": [ASK, SAY]},
        {**PAIR, "score": 1e308, "digits": 2**80},
    ],
)
def test_each_shape_of_row_is_recognized_by_its_fields(row):
    assert read(row) == ([ASK, SAY], set())


def test_a_text_is_read_as_it_is():
    assert read({"text": " a\r\nb", "meta": {"url": "x"}}) == ("a\nb", {"line ends", "outer white space"})


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("instruction", {**PAIR, "messages": [], "text": ""}),
        ("instruction", {"instruction": "ask", "response": "say", "messages": []}),
        ("prompt", {"prompt": "ask", "completion": "say", **PAIR, "instruction": "no"}),
        ("messages", {"messages": [ASK, SAY], "conversations": []}),
        ("conversations", {"messages": [], "conversations": [ASK, SAY]}),
    ],
)
def test_a_shape_that_is_asked_for_is_read_whatever_else_is_there(shape, row):
    assert read(row, shape) == ([ASK, SAY], set())


@pytest.mark.parametrize(
    ("shape", "row", "reason"),
    [
        ("text", PAIR, "text is missing"),
        ("prompt", {"prompt": "a"}, "completion is missing"),
        ("messages", PAIR, "messages is missing"),
        ("instruction", {"text": "a"}, "output is missing"),
    ],
)
def test_a_row_of_another_shape_than_asked_for_is_rejected(shape, row, reason):
    with pytest.raises(Rejected) as rejected:
        read(row, shape)
    assert rejected.value.reason == reason
    assert rejected.value.detail.startswith(f"the shape is to be {shape}; ")


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
    assert ignored({**PAIR, "notes": "a", "history": [["a", "b"]], "\ud800": "x"}) == ["history", "notes", "\\ud800"]
    assert ignored({"prompt": "ask", "completion": "say", "input": "lost"}) == ["input"]
    assert ignored({"text": "a", "system": "lost"}) == ["system"]
    thinking = {**SAY, "thinking": "hm", "name": None}
    assert ignored({"messages": [ASK, thinking], "tools": [{"a": 1}]}) == ["tools", "messages[].thinking"]


def test_a_conversation_may_have_a_system_message_and_many_turns():
    messages = [{"role": "system", "content": "be brief"}, ASK, SAY, ASK, SAY]
    assert read({"messages": messages}) == (messages, set())


@pytest.mark.parametrize(
    ("text", "repaired", "repair"),
    [
        ("  ask\n", "ask", "outer white space"),
        ("a\r\nb", "a\nb", "line ends"),
        ("a\r\r\nb\rc", "a\nb\rc", "line ends"),
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
        ({"messages": [ASK, {**SAY, "tool_calls": [{"name": "f"}]}]}, "a tool call"),
        ({"conversations": [{"from": "human", "value": 3}, SAY]}, "value is not text"),
        ({"conversations": [{"from": "human", "content": "a"}, SAY]}, "a message without role and content"),
        ({"conversations": [{"from": "bing", "value": "a"}, SAY]}, "a message of unknown role"),
        ({"conversations": "a"}, "conversations is not a list with something in it"),
        ({"text": " \n"}, "an empty text"),
        ({"text": None}, "text is not text"),
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


@pytest.mark.parametrize(("given", "found"), [("a", "a"), (7, "7"), (-7, "-7")])
def test_an_id_is_kept_as_text(given, found):
    assert own_id({"id": given}) == found


@pytest.mark.parametrize("given", [None, "", "  ", True, 1.5, ["a"], "a\0", "\ud800", "x" * 201, 10**200])
def test_an_id_that_cannot_be_written_is_none(given):
    assert own_id({"id": given}) is None


@pytest.mark.parametrize("given", [2, 2.0, "2", " 2.0 "])
def test_a_number_may_be_text_as_in_a_csv_file(given):
    assert number_in({"a": given}, "a") == 2.0


@pytest.mark.parametrize("given", [None, "", "two", True, [2], {}, "nan", "inf", 10**400])
def test_what_is_no_finite_number_is_rejected(given):
    with pytest.raises(Rejected, match="a is not a number"):
        number_in({"a": given}, "a")


def test_a_task_that_is_not_text_is_left_out_and_named():
    repairs = set()
    assert beside({"task": ["a"], "source": "b", "id": None}, ("id", "task", "source"), repairs) == {"source": "b"}
    assert repairs == {"an unusable task left out"}


def rejection(number, reason="output is not text", detail="", file="a.jsonl"):
    return Finding(Place(file, "line", number), "rejected", reason, detail)


def test_findings_name_the_first_rows_of_each_reason_and_count_the_rest():
    findings = Findings()
    for line in range(1, 9):
        findings.add("output is not text", partial(rejection, line, detail=f"it is {line}"))
    findings.add("not valid UTF-8", partial(rejection, 12, "not valid UTF-8", "byte 3 is 0xff"))
    assert findings.summary(name_files=False) == [
        "8 × output is not text: lines 1, 2, 3, 4, 5 and 3 more (the first: it is 1)",
        "1 × not valid UTF-8: line 12 (byte 3 is 0xff)",
    ]


def test_findings_of_several_files_name_them():
    findings = Findings()
    for file, line in (("a.jsonl", 1), ("a.jsonl", 3), ("b.jsonl", 1)):
        findings.add("output is not text", partial(rejection, line, file=file))
    assert findings.summary(name_files=True) == ["3 × output is not text: a.jsonl lines 1, 3; b.jsonl line 1"]


def test_findings_do_not_grow_with_the_rows_and_are_those_of_one_pass_however_cut():
    whole, joined = Findings(), Findings()
    for start in range(0, 10_000, 7):
        piece = Findings()
        for line in range(start, min(start + 7, 10_000)):
            whole.add("not valid JSON", partial(rejection, line))
            piece.add("not valid JSON", partial(rejection, line))
        joined.extend(piece)
    assert joined == whole
    assert [finding.place.number for finding in whole.first["not valid JSON"]] == list(range(10))


def test_an_excerpt_is_short_and_shows_what_does_not_print():
    assert excerpt("a\tb\n\x07\u202e\ud800|é👩") == r"a\tb\n\x07\u202e\ud800|é👩"
    assert len(excerpt("x" * 1000)) == len(excerpt("\n" * 1000)) == 80
    assert excerpt_of({"a": b"\xff", "b": "é"}) == '{"a": "b\'\\\\xff\'", "b": "é"}'


def test_a_file_is_checked_row_by_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": " b"}\n{"prompt": "a"}\n\n{"prompt": "a", "completion": "b"}\n{')
    found = [(finding.place.number, finding.verdict, finding.reason) for finding in findings_of(path, "auto")]
    assert found == [
        (1, "repaired", "outer white space"),
        (2, "rejected", "completion is missing"),
        (5, "rejected", "not valid JSON"),
    ]
    assert str(next(findings_of(path, "auto")).place) == f"{path}, line 1"
