from pathlib import Path

import pyarrow as pa
import pytest

from ollamake.errors import DataError
from ollamake.scoring.items import Item, batches, read_items, require_same_items
from tests.arrow import TOKENS, write_tokens


def row(number: int, labels: list[int] | None = None) -> dict:
    return {
        "id": f"{number:016x}",
        "input_ids": [1] * (3 + number % 7),
        "labels": [-100, -100, 1] if labels is None else labels,
        "prompt_length": 2,
        "prompt": "?",
        "reference": "!",
    }


def test_the_choice_and_its_order_do_not_depend_on_the_order_of_the_file(tmp_path):
    rows = [row(number) for number in range(20)]
    rows = rows[7:] + rows[:7][::-1]
    chosen = read_items(write_tokens(tmp_path / "test.arrow", rows), 5)
    assert [item.id for item in chosen] == [f"{number:016x}" for number in range(5)]


def test_ids_of_the_users_own_are_drawn_and_not_taken_in_their_order(tmp_path):
    rows = [{**row(number), "id": f"example-{number:03}"} for number in range(200)]
    chosen = {item.id for item in read_items(write_tokens(tmp_path / "test.arrow", rows), 40)}
    assert 5 < len(chosen & {f"example-{number:03}" for number in range(100)}) < 35
    grown = read_items(write_tokens(tmp_path / "test.arrow", [*rows, {**row(7), "id": "another"}]), 40)
    assert len(chosen & {item.id for item in grown}) >= 39


def test_an_answer_with_a_thumb_down_is_no_reference(tmp_path):
    rows = [{**row(number), "desirable": (True, False, None)[number % 3]} for number in range(9)]
    places = [int(item.id, 16) for item in read_items(write_tokens(tmp_path / "test.arrow", rows), 0)]
    assert places == [0, 2, 3, 5, 6, 8]
    with pytest.raises(DataError, match="nothing to score"):
        read_items(write_tokens(tmp_path / "test.arrow", [{**row(1), "desirable": False}]), 0)


def test_a_limit_of_zero_takes_all(tmp_path):
    assert len(read_items(write_tokens(tmp_path / "test.arrow", [row(number) for number in range(20)]), 0)) == 20


def test_columns_that_a_later_version_adds_are_not_read(tmp_path):
    schema = TOKENS.append(pa.field("source", pa.string()))
    path = write_tokens(tmp_path / "test.arrow", [{**row(1), "source": "eg"}], schema)
    assert read_items(path, 0) == [Item(**row(1))]


@pytest.mark.parametrize("rows", [[], [row(1, labels=[5, -100, -100])]], ids=["no rows", "no label to predict"])
def test_a_test_set_without_an_answer_is_refused(tmp_path, rows):
    path = write_tokens(tmp_path / "test.arrow", rows)
    with pytest.raises(DataError, match="nothing to score") as caught:
        read_items(path, 0)
    assert "test_fraction" in caught.value.hint


def test_an_item_without_an_answer_is_left_out_among_others(tmp_path):
    path = write_tokens(tmp_path / "test.arrow", [row(1), row(2, labels=[5, -100, -100])])
    assert [item.id for item in read_items(path, 0)] == [f"{1:016x}"]


def test_an_item_carries_its_task(tmp_path):
    path = write_tokens(tmp_path / "test.arrow", [{**row(1), "task": "files"}, row(2)])
    assert [item.task for item in read_items(path, 0)] == ["files", ""]


def test_an_item_knows_what_of_it_carries_loss():
    # Two answers; the prompt of the last one ends before 8. What carries a label first is never predicted.
    item = Item("a", [1, 2, 3, 4, 5, 6, 7, 8], [1, -100, 3, 4, -100, -100, 7, 8], 6, "?", "!")
    assert (item.tokens, item.reference_tokens, item.supervised_texts) == (4, 2, [[3, 4], [7, 8]])


def test_answers_to_the_same_items_in_any_order_are_accepted():
    require_same_items(["a", "b"], ["b", "a"], Path("items.jsonl"))


@pytest.mark.parametrize("answered", [["a"], ["a", "b", "c"], ["a", "c"], []])
def test_answers_to_other_items_are_refused(answered):
    with pytest.raises(DataError, match="answers are to other conversations") as caught:
        require_same_items(["a", "b"], answered, Path("models/baseline/items.jsonl"))
    assert caught.value.where == "models/baseline/items.jsonl"
    assert "dvc repro evaluate" in caught.value.hint


def test_batches_hold_every_item_once_the_longest_first_and_never_more_than_fits():
    items = [Item(**row(number)) for number in range(50)]
    made = list(batches(items, lambda item: len(item.input_ids), lambda count, longest: count * longest <= 30))
    lengths = [len(item.input_ids) for batch in made for item in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(item.id for batch in made for item in batch) == [item.id for item in items]
    assert all(len(batch) * len(batch[0].input_ids) <= 30 for batch in made)
    assert len(made) < 15


def test_an_item_too_long_for_any_batch_has_one_of_its_own():
    items = [Item(**row(number)) for number in range(3)]
    assert [len(batch) for batch in batches(items, lambda item: item.prompt_length, lambda *_: False)] == [1, 1, 1]
