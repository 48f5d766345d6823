import subprocess
import sys

import numpy as np
import pytest

from ollamake.data import near
from ollamake.data.near import PERMUTATIONS, groups, near_pairs, sketch
from ollamake.data.signatures import TEXT_BYTES

WORDS = [f"{first}{second}" for first in "bcdfghjklmnprst" for second in ("a", "ine", "ock", "ute", "ish", "ond")]


@pytest.fixture
def signatures(tmp_path):
    def write(values):
        path = tmp_path / "signatures"
        np.asarray(values, np.uint32).tofile(path)
        return path, np.arange(len(values))

    return write


def drawn(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 1 << 32, shape, np.uint32)


def text(generator, count, words=WORDS):
    return " ".join(generator.choice(words, count))


def two_prompts(generator, shared, own):
    """Two prompts that have `shared` phrases in common, and `own` each for itself."""
    start, *ends = np.split(generator.integers(0, 1 << 40, shared + 2 + 2 * own), [shared + 2, shared + 2 + own])
    return [" ".join(map(str, [*start, *end])) for end in ends]


def test_prompts_that_differ_in_a_word_are_a_pair_and_unrelated_ones_are_not(signatures):
    generator = np.random.default_rng(1)
    prompts = [text(generator, 60) for _ in range(500)]
    changed = {7: 403, 100: 101, 250: 499}
    for first, second in changed.items():
        prompts[second] = prompts[first] + " please"
    found = near_pairs(*signatures(sketch(prompts)), 0.8)
    assert [tuple(pair) for pair in found.tolist()] == sorted(changed.items(), key=lambda pair: pair[1])


def test_the_order_of_words_counts(signatures):
    words = WORDS[:60]
    assert not len(near_pairs(*signatures(sketch([" ".join(words), " ".join(reversed(words))])), 0.5))


def test_only_the_given_rows_are_compared_and_are_named_by_their_number(signatures):
    values = drawn((40_000, PERMUTATIONS))
    values[[3, 4, 17_000, 18_000, 39_999]] = values[3]
    path, _ = signatures(values)
    rows = np.array([2, 3, 17_000, 18_000, 30_000])
    assert near_pairs(path, rows, 0.8).tolist() == [[3, 17_000], [3, 18_000], [17_000, 18_000]]


@pytest.mark.parametrize("rows", [[], [1]])
def test_no_row_and_a_single_row_have_no_pairs(signatures, rows):
    path, _ = signatures(drawn((3, PERMUTATIONS)))
    assert near_pairs(path, np.array(rows, np.int64), 0.8).shape == (0, 2)


@pytest.mark.parametrize(
    ("equal", "threshold", "expected"), [(52, 0.8, 1), (51, 0.8, 0), (63, 0.99, 0), (64, 0.999, 1)]
)
def test_a_pair_counts_from_the_threshold_on(signatures, equal, threshold, expected):
    first = drawn(PERMUTATIONS)
    second = np.where(np.arange(PERMUTATIONS) < equal, first, ~first)
    assert len(near_pairs(*signatures([first, second]), threshold)) == expected


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_few_pairs_are_missed(signatures, threshold):
    """Of the pairs at the threshold, bands miss under a tenth; of those 0.1 above it, nearly none.

    Measured on 4,000 pairs: 0.940, 0.974, 0.952 and 0.961 at the threshold, 0.993 and more 0.1 above it.
    """
    count, (bands, values) = 1000, near._bands(threshold)
    for similarity, least in ((threshold, 0.9), (min(threshold + 0.1, 0.98), 0.985)):
        own = round(120 * (1 - similarity) / similarity / 2)
        generator = np.random.default_rng(2)
        drawn_signatures = sketch([prompt for _ in range(count) for prompt in two_prompts(generator, 120, own)])
        equal = drawn_signatures[::2] == drawn_signatures[1::2]
        compared = equal[:, : bands * values].reshape(count, bands, values).all(axis=2).any(axis=1)
        assert compared.mean() >= least
        found = near_pairs(*signatures(drawn_signatures), threshold)
        alike = equal.mean(axis=1) >= threshold
        assert len(found) >= 0.97 * alike.sum() > 0.4 * count


def test_pairs_are_found_among_rows_that_share_half_of_their_phrases_with_all(signatures):
    values = np.where(
        np.random.default_rng(3).random((4000, PERMUTATIONS)) < 0.5, drawn(PERMUTATIONS), drawn((4000, 64))
    )
    values[2000:, 7:] = values[:2000, 7:]
    found = near_pairs(*signatures(values), 0.8)
    assert len(found) >= 0.98 * 2000
    assert (found[:, 1] - found[:, 0] == 2000).all()


@pytest.fixture
def compared(monkeypatch):
    """How many candidates were compared, one number for each block of them."""
    counts, verified = [], near._verified
    monkeypatch.setattr(near, "_verified", lambda *given: counts.append(len(given[2])) or verified(*given))
    return counts


def test_ten_thousand_equal_signatures_are_one_group_for_two_comparisons_each(signatures, compared):
    found = near_pairs(*signatures(np.repeat(drawn((1, PERMUTATIONS)), 10_000, axis=0)), 0.8)
    assert 9_999 <= sum(compared) <= 2 * 10_000 + near.CROWD**2
    assert not groups(10_000, found).any()


def test_rows_of_a_crowd_are_not_compared_again_in_every_band(signatures, compared):
    values = np.repeat(drawn((1, PERMUTATIONS)), 5_000, axis=0)
    changed = np.random.default_rng(5).integers(0, PERMUTATIONS, 5_000)
    values[np.arange(5_000), changed] = drawn(5_000, seed=6)
    assert not groups(5_000, near_pairs(*signatures(values), 0.8)).any()
    assert sum(compared) < 3 * 5_000


def test_every_row_of_a_run_is_compared_with_the_first_and_the_one_before_and_the_early_ones_with_all_before():
    firsts, seconds = near._comparisons(np.full(39, 100), np.arange(101, 140))
    pairs = list(zip(firsts.tolist(), seconds.tolist(), strict=True))
    early = {(i, j) for j in range(100, 100 + near.CROWD) for i in range(100, j)}
    late = {(i, j) for j in range(100 + near.CROWD, 140) for i in (100, j - 1)}
    assert sorted(pairs) == sorted(early | late)


def test_a_group_that_is_not_crowded_has_all_its_pairs(signatures):
    found = near_pairs(*signatures(np.repeat(drawn((2, PERMUTATIONS)), near.CROWD, axis=0)), 0.8)
    assert len(found) == near.CROWD * (near.CROWD - 1)


def test_a_pair_is_found_after_a_third_row_has_connected_its_rows(signatures):
    values = np.repeat(drawn((1, PERMUTATIONS)), 3, axis=0)
    _, width = near._bands(0.8)
    values[1, width] += 1  # apart from the others in the second band
    values[2, 0] += 1  # and in the first
    assert near_pairs(*signatures(values), 0.8).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_a_chain_of_pairs_is_one_group_named_by_its_smallest_row():
    pairs = np.array([[4, 5], [2, 4], [7, 8], [5, 9]])
    assert groups(10, pairs).tolist() == [0, 1, 2, 3, 2, 2, 6, 7, 7, 2]
    assert groups(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]
    chain = np.random.default_rng(7).permutation(5_000)
    assert not groups(5_000, np.stack([chain[1:], chain[:-1]], axis=1)).any()


def test_a_prompt_of_any_length_is_compared_to_its_end():
    words = text(np.random.default_rng(4), TEXT_BYTES).split(" ")
    third = len(words) // 3
    whole, begin, end, short = sketch(
        [" ".join(words), " ".join(words[: third + 2]), " ".join(words[third:]), "a short one"]
    )
    # The phrases of a text are those of its two parts, when two words stand in both.
    assert whole.tolist() == np.minimum(begin, end).tolist()
    assert 0.2 < (whole == begin).mean() < 0.5
    assert short.tolist() == sketch(["a short one"])[0].tolist()


def test_a_word_longer_than_any_block_has_a_signature_of_its_own():
    first, second = sketch(["x" * (2 * TEXT_BYTES + 1), "x" * (2 * TEXT_BYTES) + "y"])
    assert (first != second).any()


def test_no_prompts_have_no_signatures():
    assert sketch([]).shape == (0, PERMUTATIONS)


def test_workers_do_not_import_datasketch_or_scipy():
    code = "import sys; from ollamake.data.near import sketch; sketch(['a b c']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"datasketch", "scipy", "torch", "transformers"} & set(loaded)
