"""The order of training: everything once, the same for the same epoch, and little padding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ollamake.training.order import grouped_by_length

LENGTHS = st.lists(st.integers(1, 2048), min_size=0, max_size=700).map(np.array)
BATCHES = st.integers(1, 24)
SEEDS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 50)


def padded(lengths: np.ndarray, order: np.ndarray, batch: int) -> int:
    """The positions that batches of the longest example's width take."""
    return sum(lengths[part].max() * len(part) for part in np.split(order, range(batch, len(order), batch)))


@given(LENGTHS, BATCHES, SEEDS, EPOCHS)
def test_every_example_comes_once_an_epoch(lengths, batch, seed, epoch):
    assert sorted(grouped_by_length(lengths, batch, seed, epoch)) == list(range(len(lengths)))


@given(LENGTHS, BATCHES, SEEDS, EPOCHS, st.integers(0, 2**32 - 1))
def test_the_order_is_a_function_of_seed_and_epoch(lengths, batch, seed, epoch, other_state):
    once = grouped_by_length(lengths, batch, seed, epoch)
    np.random.seed(other_state)
    grouped_by_length(lengths, batch, seed, epoch + 1)
    assert (grouped_by_length(lengths, batch, seed, epoch) == once).all()


@given(st.integers(60, 700), BATCHES, SEEDS, EPOCHS)
def test_another_epoch_or_seed_has_another_order(count, batch, seed, epoch):
    lengths = np.arange(count) % 37 + 1
    once = grouped_by_length(lengths, batch, seed, epoch)
    assert (grouped_by_length(lengths, batch, seed, epoch + 1) != once).any()
    assert (grouped_by_length(lengths, batch, seed + 1, epoch) != once).any()


@given(LENGTHS.filter(len), BATCHES, SEEDS, EPOCHS)
def test_the_longest_example_comes_first_where_there_is_a_whole_batch(lengths, batch, seed, epoch):
    order = grouped_by_length(lengths, batch, seed, epoch)
    if len(lengths) >= batch:
        assert lengths[order[0]] == lengths.max()


@given(SEEDS, EPOCHS, st.sampled_from([4, 8, 16]))
def test_a_wide_spread_of_lengths_is_padded_to_a_fraction_of_what_chance_needs(seed, epoch, batch):
    lengths = np.random.default_rng(seed).lognormal(5, 0.8, 2000).astype(int) + 1
    tokens = lengths.sum()
    grouped = padded(lengths, grouped_by_length(lengths, batch, seed, epoch), batch) - tokens
    chance = padded(lengths, np.random.default_rng(seed).permutation(2000), batch) - tokens
    assert grouped < 0.35 * chance


@given(SEEDS, EPOCHS)
def test_a_step_goes_from_its_longest_example_to_its_shortest(seed, epoch):
    """So that the batches which it is shared out to hold similar lengths too."""
    lengths = np.random.default_rng(seed).integers(1, 500, 200)
    order = grouped_by_length(lengths, 16, seed, epoch)
    for step in np.split(order[:192], 12):
        assert (np.diff(lengths[step]) <= 0).all()
