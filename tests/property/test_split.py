import io
import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ollamake.data.sorting import SPLITS, sort_rows
from ollamake.data.split import Fractions

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
ROWS = st.lists(st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}), max_size=30)
FRACTIONS = st.builds(Fractions, probe=st.floats(0.05, 0.3), test=st.floats(0.05, 0.3), val=st.floats(0.05, 0.3))


def deal(rows, fractions, seed=1):
    out = {name: io.StringIO(newline="") for name in SPLITS}
    tally = sort_rows(enumerate(rows, start=1), out, fractions, seed)
    # Lines end at LF alone: str.splitlines would also split at U+2028.
    return tally, {
        name: [json.loads(row) for row in stream.getvalue().split("\n")[:-1]] for name, stream in out.items()
    }


def homes(splits):
    return {row["id"]: name for name, rows in splits.items() for row in rows}


def prompt(row):
    return " ".join(row["messages"][0]["content"].casefold().split())


@given(ROWS, FRACTIONS)
def test_every_row_is_kept_once_or_counted(rows, fractions):
    tally, splits = deal(rows, fractions)
    kept = sum(map(len, splits.values()))
    assert kept == len(homes(splits))
    assert kept + tally.duplicates + tally.rejected == len(rows) == tally.rows


@given(ROWS, FRACTIONS)
def test_no_prompt_is_in_two_splits(rows, fractions):
    _, splits = deal(rows, fractions)
    prompts = [{prompt(row) for row in found} for found in splits.values()]
    assert len(set().union(*prompts)) == sum(map(len, prompts))


@given(ROWS, ROWS, FRACTIONS, st.randoms())
def test_adding_removing_and_reordering_rows_moves_no_row(rows, more, fractions, random):
    before = homes(deal(rows, fractions)[1])
    mixed = rows[: len(rows) // 2] + more
    random.shuffle(mixed)
    after = homes(deal(mixed, fractions)[1])
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: before[name] for name in before.keys() & after.keys()
    }


@given(ROWS, FRACTIONS)
def test_preparing_what_was_prepared_changes_nothing(rows, fractions):
    _, once = deal(rows, fractions)
    again, twice = deal([row for found in once.values() for row in found], fractions)
    assert {name: sorted(found, key=str) for name, found in twice.items()} == {
        name: sorted(found, key=str) for name, found in once.items()
    }
    assert (again.rejected, again.duplicates, again.repaired) == (0, 0, {})


@given(ROWS)
def test_the_kept_text_is_normal(rows):
    _, splits = deal(rows, Fractions(probe=0.1, test=0.1, val=0.1))
    for found in splits.values():
        for row in found:
            for message in row["messages"]:
                assert message["content"] == unicodedata.normalize("NFC", message["content"]).strip() != ""
