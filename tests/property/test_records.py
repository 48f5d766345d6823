import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ollamake.data.conversations import ROLES
from ollamake.data.report import report
from tests.property.dealt import deal

TEXTS = st.text("ab \n\t\r\0\u0301\u2028\ud800\U0001f600", min_size=1, max_size=3)
VALUES = TEXTS | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(TEXTS, max_size=2)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from([*ROLES, "bot"]), "content": TEXTS}, optional={"name": VALUES})
    | st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system"]), "value": TEXTS}),
    max_size=3,
)
FIELDS = ["instruction", "input", "output", "context", "response", "prompt", "completion", "messages", "system", "text"]
JUDGED = ["chosen", "rejected", "question", "label", "thumb", "thumbs", "desirable"]
BESIDE = dict.fromkeys(("id", "task", "weight", "source", "system", "notes�"), VALUES)
ANSWERS = TEXTS | MESSAGES | st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS})
THUMBS = st.sampled_from([True, False, 1, 0, "up", "👎", "good", None])
TALKS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=2).map(
    lambda turns: [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
)
PAIRS = st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}, optional=BESIDE)
ROWS = (
    PAIRS
    | st.fixed_dictionaries({"text": TEXTS}, optional=BESIDE)
    | st.fixed_dictionaries({"messages": MESSAGES}, optional=BESIDE)
    | st.fixed_dictionaries({"conversations": MESSAGES}, optional=BESIDE)
    | st.dictionaries(st.sampled_from(FIELDS), VALUES)
)
JUDGED_ROWS = (
    st.fixed_dictionaries({"prompt": TEXTS | MESSAGES, "chosen": ANSWERS, "rejected": ANSWERS}, optional=BESIDE)
    | st.fixed_dictionaries({"chosen": TALKS | ANSWERS, "rejected": TALKS | ANSWERS}, optional={"prompt": ANSWERS})
    | st.fixed_dictionaries({"messages": TALKS}, optional={"rejected": ANSWERS, "label": THUMBS, "thumbs": THUMBS})
    | st.fixed_dictionaries({"prompt": TEXTS, "completion": ANSWERS, "label": THUMBS}, optional=BESIDE)
    | st.dictionaries(st.sampled_from([*FIELDS, *JUDGED]), VALUES | ANSWERS | THUMBS)
)


@st.composite
def torn(draw):
    line = json.dumps(draw(ROWS)).encode()
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    return line[:start] + draw(st.binary(max_size=3)) + line[end:]


@settings(max_examples=300)
@given(st.lists((ROWS | JUDGED_ROWS).map(lambda row: json.dumps(row).encode()) | torn(), min_size=1, max_size=4))
def test_any_line_is_written_or_counted_and_shown(lines):
    # The first line is whole: a file that begins with a NUL is taken for one of UTF-16.
    tally, splits = deal([b"{}\n", *(line + b"\n" for line in lines)], near=0.8)
    written = sum(map(len, splits.values()))
    assert written - tally.copies + tally.left_out.counts.total() + tally.rejected.counts.total() == tally.rows.total()
    for row in (row for rows in splits.values() for row in rows):
        assert row.get("text") or row["messages"][-1]["role"] == "assistant"
        assert isinstance(row["id"], str)
    json.dumps(tally.metrics(), ensure_ascii=False).encode("utf-8")
    shown = report(tally).encode("utf-8").decode()
    assert all(line.isprintable() for line in shown.split("\n"))


@settings(max_examples=300)
@given(st.lists(JUDGED_ROWS | ROWS, max_size=4), st.sampled_from([0.7, 1.0]))
def test_a_judged_row_is_written_with_its_judgement_and_stays_what_it_is(rows, near):
    tally, splits = deal(rows, near=near)
    written = [row for found in splits.values() for row in found]
    assert len({row["id"] for row in written}) == len({json.dumps(row) for row in written})
    for row in written:
        assert not {"rejected", "desirable"} <= row.keys()
        assert row.get("rejected", "x").strip()
        assert "text" in row or row.get("rejected") != row["messages"][-1]["content"]
        assert row.get("desirable") in (None, True, False)
    if not tally.copies:
        judged = sum("rejected" in row or "desirable" in row for row in written)
        assert judged <= tally.judged.total() <= judged + tally.left_out.counts.total()
    again, twice = deal(written, near=near)
    assert again.rejected.counts.total() == 0
    assert {json.dumps(row) for found in twice.values() for row in found} == {json.dumps(row) for row in written}
