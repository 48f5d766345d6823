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
BESIDE = dict.fromkeys(("id", "task", "weight", "source", "system", "notes�"), VALUES)
PAIRS = st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}, optional=BESIDE)
ROWS = (
    PAIRS
    | st.fixed_dictionaries({"text": TEXTS}, optional=BESIDE)
    | st.fixed_dictionaries({"messages": MESSAGES}, optional=BESIDE)
    | st.fixed_dictionaries({"conversations": MESSAGES}, optional=BESIDE)
    | st.dictionaries(st.sampled_from(FIELDS), VALUES)
)


@st.composite
def torn(draw):
    line = json.dumps(draw(ROWS)).encode()
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    return line[:start] + draw(st.binary(max_size=3)) + line[end:]


@settings(max_examples=300)
@given(st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | torn(), min_size=1, max_size=4))
def test_any_line_is_written_or_counted_and_shown(lines):
    tally, splits = deal([line + b"\n" for line in lines], near=0.8)
    written = sum(map(len, splits.values()))
    assert written - tally.copies + tally.left_out.counts.total() + tally.rejected.counts.total() == tally.rows.total()
    for row in (row for rows in splits.values() for row in rows):
        assert row.get("text") or row["messages"][-1]["role"] == "assistant"
        assert isinstance(row["id"], str)
    json.dumps(tally.metrics(), ensure_ascii=False).encode("utf-8")
    shown = report(tally).encode("utf-8").decode()
    assert all(line.isprintable() for line in shown.split("\n"))
