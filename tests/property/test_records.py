import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ollamake.data.conversations import ROLES
from ollamake.data.rows import parse
from ollamake.data.sorting import SPLITS, sort_rows
from ollamake.data.split import Fractions

TEXTS = st.text("ab \n\t\r\0\u0301\u2028\ud800\U0001f600", min_size=1, max_size=3)
VALUES = TEXTS | st.none() | st.integers() | st.floats() | st.lists(TEXTS, max_size=2)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from([*ROLES, "bot"]), "content": TEXTS}), max_size=3)
FIELDS = ["instruction", "input", "output", "context", "response", "prompt", "completion", "messages", "system"]
PAIRS = st.fixed_dictionaries(
    {"prompt": TEXTS, "completion": TEXTS}, optional={"source": VALUES, "system": VALUES, "notes\ud800": VALUES}
)
ROWS = PAIRS | st.fixed_dictionaries({"messages": MESSAGES}) | st.dictionaries(st.sampled_from(FIELDS), VALUES)


@st.composite
def torn(draw):
    line = json.dumps(draw(ROWS)).encode()
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    return line[:start] + draw(st.binary(max_size=3)) + line[end:]


@settings(max_examples=400)
@given(ROWS.map(lambda row: json.dumps(row).encode()) | torn())
def test_any_line_is_a_conversation_that_can_be_written_or_is_rejected(line):
    out = {name: io.StringIO(newline="") for name in SPLITS}
    tally = sort_rows([(1, parse(line))], out, Fractions(probe=0.1, test=0.1, val=0.1), seed=1)
    written = "".join(stream.getvalue() for stream in out.values()).encode("utf-8")
    assert tally.rejected == (not written)
    assert not written or json.loads(written)["messages"][-1]["role"] == "assistant"
    json.dumps(tally.metrics(), ensure_ascii=False).encode("utf-8")
    "".join(tally.findings.summary()).encode("utf-8")
