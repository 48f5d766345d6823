import pytest

from ollamake.data.split import Fractions, content_hash, split_of

FRACTIONS = Fractions(probe=0.03, test=0.1, val=0.1)


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


def test_the_earlier_turns_are_part_of_the_prompt_and_the_last_answer_is_not():
    same = {split_of(talk("q", "a", "more", f"answer {n}"), FRACTIONS, 1) for n in range(200)}
    other = {split_of(talk("q", f"answer {n}", "more", "a"), FRACTIONS, 1) for n in range(200)}
    assert len(same) == 1
    assert len(other) == 4


def test_the_content_hash_stays_what_it_is():
    # The ids of rows are part of what is published: a changed hash renames every row and deals every prompt anew.
    assert content_hash(talk("list files", "ls")).hex() == "881df5e7225add2dd1060e2f36e65bf9"
    assert split_of(talk("list files", "ls"), FRACTIONS, 1) == "train"


def test_texts_that_only_look_joined_differently_have_different_hashes():
    assert content_hash(talk("ab", "c")) != content_hash(talk("a", "bc"))
