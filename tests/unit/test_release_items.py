from pathlib import Path

import pytest

from ollamake.files import read_jsonl, write_jsonl
from ollamake.gate.comparison import compare, read_contest
from ollamake.release import items
from ollamake.release.errors import ReleaseError
from ollamake.release.items import NOT_KEPT, keep_items
from tests.released import item

MAX_BYTES = 100_000
ANSWER = "find . -name '*.txt' -size +10k" * 20


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert items.MAX_BYTES == 10 * MAX_BYTES
    monkeypatch.setattr(items, "MAX_BYTES", MAX_BYTES)


def kept(folder: Path, count: int, answer: str, first: int = 0) -> tuple[dict, list[dict]]:
    """What is kept of so many items, and the file's rows."""
    source, destination = folder / "items.jsonl", folder / "kept.jsonl"
    write_jsonl(source, [item(number, 0.5, answer) for number in range(first, first + count)])
    told = keep_items(source, destination)
    assert destination.stat().st_size <= MAX_BYTES
    return told, read_jsonl(destination)


def test_items_that_fit_are_kept_byte_for_byte(tmp_path: Path) -> None:
    told, rows = kept(tmp_path, 100, "ls")
    assert (tmp_path / "kept.jsonl").read_bytes() == (tmp_path / "items.jsonl").read_bytes()
    assert (told["items"], told["kept"], told["answers"], len(rows)) == (100, 100, True, 100)


def test_of_many_items_the_answers_go_first(tmp_path: Path) -> None:
    told, rows = kept(tmp_path, 150, ANSWER)
    assert (told["items"], told["kept"], told["answers"]) == (150, 150, False)
    assert {row["prediction"] for row in rows} == {NOT_KEPT}
    assert rows[7] == item(7, 0.5, NOT_KEPT)


def test_of_very_many_items_the_same_ones_stay_in_every_release(tmp_path: Path) -> None:
    told, rows = kept(tmp_path, 600, ANSWER)
    assert told["items"] == 600
    assert told["kept"] == len(rows) > 200
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids), "the order of the file is kept"
    _, later = kept(tmp_path, 600, ANSWER, first=100)  # a hundred other items
    shared = {row["id"] for row in later} & set(ids)
    assert len(shared) > 0.7 * len(ids)


def test_the_gate_can_compare_with_what_is_kept(tmp_path: Path) -> None:
    _, rows = kept(tmp_path, 600, ANSWER)
    tuned = tmp_path / "items.jsonl"
    compared = compare(read_contest(tuned, tuned, tmp_path / "kept.jsonl"))
    assert compared.standings["release"].items == len(rows)
    assert compared.lead["rouge_l"].value == 0


def test_without_scores_there_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="the build left no scores of its test items"):
        keep_items(tmp_path / "items.jsonl", tmp_path / "kept.jsonl")
