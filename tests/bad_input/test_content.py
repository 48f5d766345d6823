"""Rows that can be read but not used as they are (R5, 18 to 24, 28 to 31), and files (45, 46), through prepare."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from ollamake.data import gathering
from ollamake.data.formats.reading import chunks
from ollamake.errors import DataError
from ollamake.files import read_jsonl
from stages import prepare
from tests.bad_input.verdicts import DROPPED, KEPT, REFUSED

PARAMS = prepare.Params(
    max_examples=0,
    max_rejected_fraction=0.2,
    near_duplicate_threshold=0.8,
    probe_fraction=0.1,
    row_shape="auto",
    split_seed=1,
    test_fraction=0.2,
    train_order="random",
    val_fraction=0.2,
)
GOOD = [{"instruction": f"do {number}", "output": f"run {number}"} for number in range(200)]
ASK, SAY = {"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}
SYSTEM = {"role": "system", "content": "be brief"}
STRANGE = {
    "right to left": "\u202eمرحبا שלום\u202c",
    "zero width": "zero\u200bwidth\u200djoined\ufeff",
    "decomposed": unicodedata.normalize("NFD", "é ü ñ"),
    "joined emoji": "👩‍👩‍👧 👍🏽 🇫🇷",
    "unassigned": "\u0378 \U000e0080 \ufdd0",
}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = {"name": "rows", "files": ["rows.jsonl"], "shape": "auto", "task": "", "weight": 1.0}
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/source.json").write_text(json.dumps({"sources": [{**entry, "max_examples": 0, "losses": ""}]}))


def prepare_rows(rows):
    """Return the metrics, and each kept row with the name of its split."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare.main(PARAMS)
    splits = {name: read_jsonl(Path(f"data/prepared/{name}.jsonl")) for name in ("train", "val", "test", "probe")}
    metrics = json.loads(Path("metrics/prepare.json").read_text())
    return metrics, [(name, row) for name, found in splits.items() for row in found]


def dropped(*bad):
    """Return the reasons for which the rows are dropped; the good ones beside them must stay, all of them."""
    metrics, kept = prepare_rows([*GOOD, *bad])
    assert len(kept) == len(GOOD) == metrics["rows"] - sum(metrics["rejected"].values())
    assert metrics["rejected_fraction"] == round(len(bad) / metrics["rows"], 6)
    report = Path("data/prepared/report.md").read_text()
    assert all(f"`rows.jsonl`, line {number}" in report for number in range(201, 201 + len(bad)))
    return metrics["rejected"]


@pytest.mark.r5(18, DROPPED)
def test_answers_of_a_wrong_type_are_dropped_and_counted():
    bad = [{"instruction": "a", "output": value} for value in (3, None, ["b"], {"text": "b"}, True)]
    assert dropped(*bad) == {"output is not text": 5}


@pytest.mark.r5(19, DROPPED)
def test_rows_without_a_field_are_dropped_and_counted_by_its_name():
    bad = [{"instruction": "a"}, {"output": "b"}, {"prompt": "a"}, {"question": "a"}, {}]
    reasons = {"output is missing": 1, "instruction is missing": 1, "completion is missing": 1}
    assert dropped(*bad) == {**reasons, "none of the known fields": 2}


@pytest.mark.r5(20, KEPT, "unused fields are counted")
def test_rows_with_more_fields_are_kept_and_the_unused_fields_counted():
    metrics, kept = prepare_rows([{**row, "notes": "lost", "score": 3} for row in GOOD])
    assert len(kept) == 200
    assert metrics["ignored_fields"] == {"notes": 200}
    assert all(set(row) == {"id", "messages"} for _, row in kept)


@pytest.mark.r5(21, "repaired: the later row gets another id")
def test_an_id_that_two_rows_have_is_repaired_for_the_later_one():
    metrics, kept = prepare_rows([{**row, "id": str(number // 2)} for number, row in enumerate(GOOD)])
    ids = {row["messages"][0]["content"]: row["id"] for _, row in kept}
    assert len(set(ids.values())) == len(ids) == 200
    assert all(ids[f"do {number}"] == str(number // 2) for number in range(0, 200, 2))
    assert metrics["repaired"] == {"an id that another row has": 100}


@pytest.mark.r5(22, DROPPED)
def test_exact_duplicates_are_dropped_and_counted_and_the_first_one_stays():
    metrics, kept = prepare_rows([*GOOD, *GOOD[:30]])
    assert len(kept) == 200
    assert (metrics["duplicates"], metrics["rejected"]) == (30, {})
    assert "`rows.jsonl`, line 201 (as rows.jsonl, line 1)" in Path("data/prepared/report.md").read_text()


@pytest.mark.r5(23, "never in two splits", f"same answer: {DROPPED}")
def test_a_row_is_never_in_two_splits_whatever_its_spelling_and_equal_answers_are_dropped():
    spelled = ["Où est le café", "où EST le cafe\u0301", " où  est\nle café "]
    leaks = [{"instruction": text, "output": answer} for text in spelled for answer in ("là", "ici")]
    metrics, kept = prepare_rows([*GOOD, *leaks])
    found = [(name, row["messages"][1]["content"]) for name, row in kept if "est" in row["messages"][0]["content"]]
    assert sorted(answer for _, answer in found) == ["ici", "là"]
    assert len({name for name, _ in found}) == 1
    assert metrics["duplicates"] == 4


@pytest.mark.r5(23, "never in two splits", f"same answer: {DROPPED}")
def test_a_nearly_equal_row_is_never_in_another_split_and_dropped_when_its_answer_is_equal():
    text = " ".join(f"word{number}" for number in range(50))
    leaks = [{"instruction": f"{text} {end}", "output": "b" if end < "f" else end} for end in "abcdefghij"]
    metrics, kept = prepare_rows([*GOOD, *leaks])
    found = [(name, row) for name, row in kept if "word1" in row["messages"][0]["content"]]
    assert len(found) == 6
    assert len({name for name, _ in found}) == 1
    assert metrics["near_duplicates"] == {"groups": 1, "rows": 6, "largest": 6, "dropped": 4}


@pytest.mark.r5(24, DROPPED)
def test_rows_whose_answer_is_empty_are_dropped_and_counted():
    empty = [{"instruction": "a", "output": value} for value in ("", " ", "\n\t", "\u00a0\u2003")]
    assert dropped(*empty, {"instruction": " ", "output": "b"}, {"text": "\n"}) == {
        "an empty assistant message": 4,
        "an empty user message": 1,
        "an empty text": 1,
    }


@pytest.mark.r5(28, f"{KEPT} (NFD becomes NFC)")
def test_strange_code_points_are_kept_and_only_a_decomposed_text_is_composed():
    metrics, kept = prepare_rows([*GOOD, *({"instruction": text, "output": text} for text in STRANGE.values())])
    assert metrics["rejected"] == {}
    learnt = {row["messages"][1]["content"] for _, row in kept}
    assert {*STRANGE.values()} - learnt == {STRANGE["decomposed"]}
    assert unicodedata.normalize("NFC", STRANGE["decomposed"]) in learnt
    assert metrics["repaired"] == {"Unicode form (NFC)": 1}


@pytest.mark.r5(29, REFUSED)
def test_a_single_row_fails_the_build_and_leaves_nothing():
    with pytest.raises(DataError, match=r"too few rows: 1 different of 1 leave nothing for \w+ and \w+") as error:
        prepare_rows(GOOD[:1])
    assert error.value.where == "rows.jsonl"
    assert "add rows" in error.value.hint
    assert os.listdir("data") == ["raw"]


@pytest.mark.r5(30, REFUSED)
def test_no_usable_row_fails_the_build_with_the_reasons_and_leaves_nothing():
    with pytest.raises(DataError, match="60 of 60 rows cannot be used") as error:
        prepare_rows([{"instruction": "a", "output": ""}, {"question": "a"}, {"text": 1}] * 20)
    assert "20 × an empty assistant message: lines 1, 4, 7, 10, 13 and 15 more" in error.value.problem
    assert "20 × none of the known fields: lines 2, 5," in error.value.problem
    assert "20 × text is not text: lines 3, 6," in error.value.problem
    assert os.listdir("data") == ["raw"]


@pytest.mark.r5(45, REFUSED)
def test_a_file_that_may_not_be_read_fails_the_build_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        prepare_rows(GOOD)
    assert os.listdir("data") == ["raw"]


@pytest.mark.r5(46, REFUSED)
def test_a_file_that_changes_while_it_is_read_fails_the_build_and_leaves_nothing(monkeypatch):
    def touched_meanwhile(path):
        for chunk in chunks(path):
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
            yield chunk

    monkeypatch.setattr(gathering, "chunks", touched_meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        prepare_rows(GOOD)
    assert os.listdir("data") == ["raw"]


@pytest.mark.r5(31, DROPPED)
@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([SAY, ASK], "messages that do not alternate from user to assistant"),
        ([ASK, ASK, SAY], "messages that do not alternate from user to assistant"),
        ([ASK, SAY, ASK], "messages that do not alternate from user to assistant"),
        ([SYSTEM], "messages that do not alternate from user to assistant"),
        ([SYSTEM, SYSTEM, ASK, SAY], "a system message that is not the first"),
        ([ASK, SYSTEM, SAY], "a system message that is not the first"),
        ([], "messages is not a list with something in it"),
        ([ASK, {**SAY, "tool_calls": [{"function": {"name": "f"}}]}], "a tool call"),
        ([ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}], "a tool call"),
        ([ASK, SAY, {"role": "tool", "content": "3"}, SAY], "a message of unknown role"),
    ],
)
def test_messages_that_are_no_conversation_are_dropped_and_counted(messages, reason):
    assert dropped({"messages": messages}) == {reason: 1}


@pytest.mark.r5(31, DROPPED)
def test_conversations_with_two_system_texts_are_dropped_and_counted():
    assert dropped({"messages": [SYSTEM, ASK, SAY], "system": "be kind"}) == {
        "a system message that is not the first": 1
    }
