from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from unittest.mock import patch

import numpy as np
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from ollamake.data import near
from ollamake.data import signatures as near_signatures
from ollamake.data.near import PERMUTATIONS, groups, near_pairs, sketch
from ollamake.data.signatures import BASE, MIXER

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
# Few words, so that phrases come back and prompts share some; also prompts of no word, of one, of two.
SENTENCES = st.lists(st.sampled_from(["a", "ab", "die", "straße", "東京", "🙂", "e\u0301", "zero\0"])).map(" ".join)
PROMPTS = st.lists(TEXTS | SENTENCES, max_size=12)
# Signatures of which many are nearly equal: a few values, each row changed in a few places.
ROWS = st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, PERMUTATIONS - 1), max_size=20)), max_size=30)
THRESHOLDS = st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.9, 1 - 1 / 128])
PAIRS = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        st.just(count), st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40)
    )
)


def phrase_hash(phrase):
    value = sum(byte * pow(BASE, place, 1 << 64) for place, byte in enumerate(phrase.encode())) % (1 << 64)
    return ((value ^ (value >> 32)) * MIXER % (1 << 64)) >> 32


def datasketch_values(prompt):
    words = prompt.split(" ")
    phrases = [" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2))]
    minhash = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32", hashfunc=phrase_hash)
    minhash.update_batch(phrases)
    return minhash.hashvalues


@contextmanager
def written(rows):
    values = np.zeros((len(rows), PERMUTATIONS), np.uint32)
    for row, (kind, changed) in enumerate(rows):
        values[row] = kind * 1000 + np.arange(PERMUTATIONS)
        values[row, sorted(changed)] = 10_000 + row
    with NamedTemporaryFile() as stream:
        values.tofile(stream)
        stream.flush()
        yield Path(stream.name), values


@given(PROMPTS)
def test_signatures_are_those_of_datasketch(prompts):
    signatures = sketch(prompts)
    assert signatures.dtype == np.uint32
    for signature, prompt in zip(signatures, prompts, strict=True):
        assert signature.tolist() == datasketch_values(prompt).tolist()


@given(st.lists(st.lists(st.sampled_from(["a", "ab", "die", "東京"]), max_size=60).map(" ".join)), st.integers(24, 80))
def test_long_prompts_lose_no_phrase_where_they_are_cut(prompts, piece_bytes):
    sketch(["a"])  # the table of powers is made for the real size
    with patch.object(near_signatures, "TEXT_BYTES", piece_bytes):
        signatures = sketch(prompts)
    assert signatures.tolist() == sketch(prompts).tolist()


@given(PROMPTS, PROMPTS)
def test_a_signature_does_not_depend_on_the_batch(prompts, others):
    assert np.array_equal(sketch(prompts), sketch([*others, *prompts, *others])[len(others) :][: len(prompts)])


@given(ROWS, THRESHOLDS, st.sets(st.integers(0, 29)))
def test_pairs_are_sorted_unique_and_truly_alike(rows, threshold, left_out):
    chosen = np.array([row for row in range(len(rows)) if row not in left_out], np.int64)
    with written(rows) as (path, values):
        with written([rows[row] for row in chosen]) as (alone, _):
            assert len(near_pairs(alone, np.arange(len(chosen)), threshold)) == len(near_pairs(path, chosen, threshold))
        pairs = [(i, j) for i, j in near_pairs(path, chosen, threshold).tolist()]
    assert pairs == sorted(set(pairs), key=lambda pair: pair[::-1])
    for i, j in pairs:
        assert i < j
        assert {i, j} <= set(chosen.tolist())
        assert (values[i] == values[j]).mean() >= threshold


@given(ROWS, THRESHOLDS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_pairs_do_not_depend_on_how_much_is_worked_on_at_a_time(rows, threshold, file_rows, sorted_rows, compared):
    every = np.arange(len(rows))
    with written(rows) as (path, _):
        expected = near_pairs(path, every, threshold)
        with patch.multiple(near, FILE_ROWS=file_rows, SORTED_ROWS=sorted_rows, COMPARED_PAIRS=compared):
            assert near_pairs(path, every, threshold).tolist() == expected.tolist()


@given(ROWS, THRESHOLDS)
def test_rows_with_equal_signatures_are_in_one_group(rows, threshold):
    twice = rows + rows
    with written([(kind, set()) for kind, _ in twice]) as (path, _):
        named = groups(len(twice), near_pairs(path, np.arange(len(twice)), threshold))
    firsts = {kind: row for row, (kind, _) in reversed(list(enumerate(twice)))}
    assert named.tolist() == [firsts[kind] for kind, _ in twice]


@given(PAIRS)
def test_groups_are_what_chains_of_pairs_connect(given_pairs):
    count, pairs = given_pairs
    expected = list(range(count))
    for _ in range(count):
        for i, j in pairs:
            expected[i] = expected[j] = min(expected[i], expected[j])
    assert groups(count, np.array(pairs, np.int64).reshape(-1, 2)).tolist() == expected
