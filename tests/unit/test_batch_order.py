"""The examples of training: which rows, in which order, in every process and after a stop."""

import numpy as np
import pyarrow as pa
import pytest
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader

from ollamake.training.examples import training_examples, validation_examples
from ollamake.training.order import grouped_by_length, shuffled
from tests.arrow import write_packs, write_tokens

LENGTHS = [5, 9, 3, 7, 12, 4, 8, 6, 11, 10, 2, 13]
PACKS = [[4], [2, 9], [0, 1, 3], [5, 8], [6, 7], [10, 11]]


@pytest.fixture
def train(tmp_path):
    rows = [{"input_ids": [place] * length, "labels": [place] * length} for place, length in enumerate(LENGTHS)]
    return write_tokens(tmp_path / "train.arrow", rows)


@pytest.fixture
def packs(tmp_path):
    return write_packs(tmp_path / "packs.arrow", PACKS)


@pytest.fixture
def no_packs(tmp_path):
    return write_packs(tmp_path / "packs.arrow", [])


def rows_of(examples):
    """The rows of every example; each row here consists of its own number."""
    return [[int(row.input_ids[0]) for row in example] for example in examples]


def test_a_random_order_is_another_one_in_every_epoch(train, no_packs):
    examples = training_examples(train, no_packs, "random", 4, 7)
    seen = []
    for epoch in (0, 1, 0):
        examples.set_epoch(epoch)
        seen.append(rows_of(examples))
        assert seen[-1] == [[place] for place in shuffled(len(LENGTHS), 7, epoch)]
    assert seen[0] == seen[2] != seen[1]
    assert sorted(seen[1]) == sorted(seen[0])


def test_examples_without_packs_are_single_rows_in_length_groups(train, no_packs):
    examples = training_examples(train, no_packs, "grouped", 4, 7)
    assert not examples.packed
    for epoch in (0, 1, 2, 1):
        examples.set_epoch(epoch)
        expected = grouped_by_length(np.array(LENGTHS), 4, 7, epoch)
        assert rows_of(examples) == [[place] for place in expected]
        assert [len(row.labels) for example in examples for row in example] == [LENGTHS[place] for place in expected]


def test_packed_rows_come_whole_grouped_by_their_own_length(train, packs):
    examples = training_examples(train, packs, "grouped", 2, 7)
    assert examples.packed
    assert len(examples) == len(PACKS)
    lengths = np.array([sum(LENGTHS[place] for place in pack) for pack in PACKS])
    for epoch in (0, 1):
        examples.set_epoch(epoch)
        assert rows_of(examples) == [PACKS[place] for place in grouped_by_length(lengths, 2, 7, epoch)]


@pytest.mark.parametrize("order", ["given", "length", "loss", "field:grade"])
def test_a_curriculum_is_the_order_of_the_file_in_every_epoch(train, no_packs, order):
    examples = training_examples(train, no_packs, order, 4, 7)
    for epoch in (0, 1):
        examples.set_epoch(epoch)
        assert rows_of(examples) == [[place] for place in range(len(LENGTHS))]


def test_packs_of_a_curriculum_come_in_the_order_of_their_first_rows(train, packs):
    assert rows_of(training_examples(train, packs, "length", 4, 7)) == sorted(PACKS)


def test_validation_goes_from_the_longest_row_to_the_shortest(train):
    lengths = [LENGTHS[place] for (place,) in rows_of(validation_examples(train))]
    assert lengths == sorted(LENGTHS, reverse=True)


def test_the_files_are_mapped_and_not_read(tmp_path):
    ids = list(range(10_000))
    big = write_tokens(tmp_path / "big.arrow", [{"input_ids": ids, "labels": ids}] * 100)
    before = pa.total_allocated_bytes()
    examples = training_examples(big, write_packs(tmp_path / "packs.arrow", [[0, 1]] * 50), "random", 4, 7)
    held = [examples[place] for place in range(50)]
    assert sum(row.labels.sum() for example in held for row in example) == 100 * sum(ids)
    assert pa.total_allocated_bytes() - before < 100_000


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_an_epoch_out_and_resume_within_it(train, tmp_path, processes, packed):
    """The epoch has to get through accelerate's wrappers, which differ with the processes and after a resume."""
    packs = write_packs(tmp_path / "packs.arrow", PACKS if packed else [])
    whole = training_examples(train, packs, "random", 2 * processes, 7)
    for epoch in (0, 1):
        whole.set_epoch(epoch)
        shares = [loaded(train, packs, processes, rank, epoch) for rank in range(processes)]
        turns = [rows for batches in zip(*shares, strict=True) for batch in batches for rows in batch]
        assert turns[: len(whole)] == rows_of(whole)
        assert turns[len(whole) :] == rows_of(whole)[: -len(whole) % (2 * processes)]  # so that all have equally many
        for rank in range(processes):
            assert loaded(train, packs, processes, rank, epoch, skip=1) == shares[rank][1:]


def loaded(train, packs, processes, rank, epoch, skip=0):
    """The batches of one process, through the loaders that transformers' Trainer makes."""
    PartialState(cpu=True)
    examples = training_examples(train, packs, "random", 2 * processes, 7)
    loader = prepare_data_loader(
        DataLoader(examples, batch_size=2, collate_fn=rows_of), num_processes=processes, process_index=rank
    )
    loader = skip_first_batches(loader, skip) if skip else loader
    loader.set_epoch(epoch)
    return list(loader)
