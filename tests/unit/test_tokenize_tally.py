from itertools import pairwise

import numpy as np
import pytest

from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.row import Row
from ollamake.tokens.tally import Tally


def row(length, **changes):
    return Row([5] * length, [IGNORE_INDEX, *[5] * (length - 1)], 1, "", "", **changes)


def tally_of(*rows):
    tally = Tally()
    for number, one in enumerate(rows):
        tally.add(f"{number}", one)
    return tally


def test_the_percentiles_are_those_of_the_sorted_lengths():
    draw = np.random.default_rng(0)
    for count in (1, 2, 10, 99, 100):
        lengths = draw.integers(2, 40, count).tolist()
        metrics = tally_of(*map(row, lengths)).metrics()
        ordered = sorted(lengths)
        assert [metrics[f"length_p{percent}"] for percent in (50, 95)] == [
            ordered[count * percent // 100] for percent in (50, 95)
        ]


def test_counts_of_parts_add_up_to_those_of_the_whole():
    rows = [row(5), "too bad", row(7, truncated=True), "worse", Row([5, 5], [-100, -100], 1, "", ""), "too bad", row(5)]
    whole = tally_of(*rows)
    for cut in range(len(rows)):
        first, second = Tally(), Tally()
        for number, one in enumerate(rows):
            (first if number < cut else second).add(f"{number}", one)
        first.merge(second)
        assert first == whole
    assert whole.examples == {"too bad": "1", "worse": "3"}
    assert (whole.unlearnable, whole.unlearnable_ids) == (1, ["4"])


def test_a_label_on_the_first_token_alone_teaches_nothing():
    assert tally_of(Row([5, 5], [5, IGNORE_INDEX], 0, "", "")).unlearnable == 1


@pytest.mark.parametrize(("max_length", "width"), [(64, 8), (512, 8), (513, 16), (32_768, 512)])
def test_the_bins_of_the_histogram_widen_with_max_length(max_length, width):
    tally = Tally()
    tally.lengths.update([1, max_length, max_length])
    bins = tally.length_histogram(max_length)
    assert {later - earlier for (earlier, _), (later, _) in pairwise(bins)} == {width}
    assert len(bins) <= 65
    assert (bins[0], bins[-1]) == ((0, 1), (max_length // width * width, 2))
