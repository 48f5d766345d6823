import numpy as np
import pytest

from ollamake.data.split import SPLITS, Fractions, content_hash, opening, place_hash, said, splits_of

FRACTIONS = Fractions(probe=0.03, test=0.1, val=0.1)


def split_of(content, fractions, seed):
    place = int.from_bytes(place_hash(opening(content), seed), "big")
    return SPLITS[splits_of(np.array([place], np.uint64), fractions)[0]]


def talk(*contents):
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


def test_the_splits_have_about_the_asked_sizes():
    homes = [split_of(talk(f"question {number}", "answer"), FRACTIONS, seed=1) for number in range(20_000)]
    for name, share in (("probe", 0.03), ("test", 0.1), ("val", 0.1), ("train", 0.77)):
        assert homes.count(name) / 20_000 == pytest.approx(share, abs=0.01)


def test_another_seed_deals_anew():
    one, two = ([split_of(talk(f"q{n}", "a"), FRACTIONS, seed) for n in range(500)] for seed in (1, 2))
    assert one != two


def test_a_larger_share_for_one_split_takes_rows_only_from_those_after_it():
    larger = Fractions(probe=0.03, test=0.1, val=0.2)
    moves = {
        (split_of(talk(f"q{n}", "a"), FRACTIONS, 1), split_of(talk(f"q{n}", "a"), larger, 1)) for n in range(2_000)
    }
    assert {(old, new) for old, new in moves if old != new} == {("train", "val")}


def test_the_opening_decides_and_nothing_that_follows_it():
    same = {split_of(talk("q", f"answer {n}", f"more {n}", "a"), FRACTIONS, 1) for n in range(200)}
    other = {split_of(talk(f"q {n}", "answer", "more", "a"), FRACTIONS, 1) for n in range(200)}
    assert len(same) == 1
    assert len(other) == 4


@pytest.mark.parametrize(
    ("contents", "content", "split", "split_of_another_seed"),
    [
        (["list files", "ls"], "881df5e7225add2d", "train", "val"),
        (
            ['Größe  von\t"x"\\?', "\x01\x1f\x7f\x08\x0c 👩\u200d👧 \u2028"],
            "678329675fb91995",
            "train",
            "val",
        ),
        (["q", "a", "more", "b"], "84e2a3a6956f44c5", "train", "train"),
        (["question 12", "answer"], "99d44d3baf479c0e", "val", "train"),
        (["question 40", "answer"], "dc6a3c867a8b48ef", "train", "probe"),
    ],
)
def test_the_content_hash_and_the_split_stay_what_they_are(contents, content, split, split_of_another_seed):
    # The ids of rows are part of what is published: a changed hash renames every row and deals every prompt anew.
    assert content_hash(talk(*contents), {}).hex() == content
    assert split_of(talk(*contents), FRACTIONS, 1) == split
    assert split_of(talk(*contents), FRACTIONS, -(2**70)) == split_of_another_seed


def test_a_text_row_lies_where_its_whole_text_says_and_is_no_conversation():
    assert content_hash("a", {}) != content_hash(talk("a", "b"), {})
    assert opening(" A\nb ") == [("text", "a b")]
    assert {split_of(f"start {number}", FRACTIONS, 1) for number in range(200)} == set(SPLITS)


def test_what_tells_near_duplicates_apart_leaves_the_system_message_out():
    messages = [{"role": "system", "content": "Be brief"}, *talk("Q  1", "A", "Q2", "B")]
    assert said(opening(messages)) == "q 1"


def test_a_conversation_lies_where_its_own_beginning_does():
    # Chats are often expanded into one row for each turn: what one row learns must not be asked of another.
    for number in range(50):
        begun = talk(f"question {number}", "a")
        assert split_of(begun, FRACTIONS, 1) == split_of([*begun, *talk("and then?", "b")], FRACTIONS, 1)


@pytest.mark.parametrize("text", ["a\u00a0b", "a \u2003b", "a\x1cb", "a\u200bb", "İ ß ﬁ", "a\u2028 b", "ab  c"])
def test_the_normal_form_of_a_text_is_one_blank_between_words_in_folded_case(text):
    assert opening(text) == [("text", " ".join(text.casefold().split()))]


def test_texts_that_only_look_joined_differently_have_different_hashes():
    assert content_hash(talk("ab", "c"), {}) != content_hash(talk("a", "bc"), {})
