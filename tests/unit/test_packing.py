import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamake.tokens.packing import pack


@st.composite
def cases(draw):
    capacity = draw(st.integers(1, 60))
    return np.array(draw(st.lists(st.integers(1, capacity), max_size=80)), np.int32), capacity


def packs_of(lengths, capacity):
    packs = pack(lengths, capacity)
    return [packs.rows[start:end].tolist() for start, end in zip(packs.offsets, packs.offsets[1:], strict=False)]


def rooms_left_one_by_one(lengths, capacity):
    """Best-fit decreasing as the textbook has it."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    return sorted(rooms)


def first_fit(lengths, capacity):
    rooms: list[int] = []
    for length in lengths:
        place = next((place for place, room in enumerate(rooms) if room >= length), None)
        if place is None:
            rooms.append(capacity - length)
        else:
            rooms[place] -= length
    return len(rooms)


@given(cases())
def test_every_row_is_in_one_pack_once(case):
    packs = packs_of(*case)
    assert sorted(row for rows in packs for row in rows) == list(range(len(case[0])))
    assert all(packs)


@given(cases())
def test_no_pack_is_overfull_and_all_are_as_full_as_the_textbook_makes_them(case):
    lengths, capacity = case
    rooms = sorted(capacity - sum(lengths[row] for row in rows) for rows in packs_of(lengths, capacity))
    assert all(room >= 0 for room in rooms)
    assert rooms == rooms_left_one_by_one(lengths.tolist(), capacity)


@given(cases())
def test_packs_and_their_rows_come_in_the_order_of_the_file(case):
    packs = packs_of(*case)
    assert all(rows == sorted(rows) for rows in packs)
    assert packs == sorted(packs, key=min)


def test_packs_of_real_lengths_are_nearly_full_and_no_more_than_first_fit_makes():
    lengths = np.clip(np.random.default_rng(0).lognormal(3.7, 0.5, 3000), 8, 256).astype(np.int32)
    packs = len(pack(lengths, 256))
    assert packs <= first_fit(lengths.tolist(), 256)
    assert lengths.sum() / (packs * 256) > 0.98


def test_no_rows_make_no_packs():
    assert packs_of(np.zeros(0, np.int32), 8) == []


@pytest.mark.parametrize("length", [0, 9])
def test_a_row_that_fits_no_pack_is_refused(length):
    with pytest.raises(ValueError, match=f"rows of {length} to {length} tokens do not fit packs of 8"):
        pack(np.array([length], np.int32), 8)
