import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ollamake.errors import DataError
from ollamake.scoring.items import Item, batches, read_items


def row(number: int, labels: list[int] | None = None) -> dict:
    return {
        "id": f"{number:016x}",
        "input_ids": [1] * (3 + number % 7),
        "labels": [-100, -100, 1] if labels is None else labels,
        "prompt_length": 2,
        "prompt": "?",
        "reference": "!",
    }


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_choice_and_its_order_do_not_depend_on_the_order_of_the_file(tmp_path):
    rows = [row(number) for number in range(20)]
    rows = rows[7:] + rows[:7][::-1]
    chosen = read_items(write(tmp_path / "test.parquet", rows), 5)
    assert [item.id for item in chosen] == [f"{number:016x}" for number in range(5)]


def test_a_limit_of_zero_takes_all(tmp_path):
    assert len(read_items(write(tmp_path / "test.parquet", [row(number) for number in range(20)]), 0)) == 20


def test_columns_that_a_later_version_adds_are_not_read(tmp_path):
    path = write(tmp_path / "test.parquet", [{**row(1), "source": "eg"}])
    assert read_items(path, 0) == [Item(**row(1))]


@pytest.mark.parametrize("rows", [[], [row(1, labels=[5, -100, -100])]], ids=["no rows", "no label to predict"])
def test_a_test_set_without_an_answer_is_refused(tmp_path, rows):
    table = pa.Table.from_pylist(rows, schema=pa.Table.from_pylist([row(1)]).schema)
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(DataError, match="nothing to score") as caught:
        read_items(tmp_path / "test.parquet", 0)
    assert "test_fraction" in caught.value.hint


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
