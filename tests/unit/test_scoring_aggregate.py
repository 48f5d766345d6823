import math

import pytest

from ollamake.scoring.aggregate import MAX_LOSS, Statistics
from tests.unit.scored import scored


def scores(rows):
    return Statistics.of(rows).scores()


def test_scores_of_likelihood_are_made_of_sums_not_of_means():
    rows = scored(2)
    rows[0] |= {"nats": 3.0, "tokens": 1, "bytes": 4}
    rows[1] |= {"nats": 5.0, "tokens": 7, "bytes": 12}
    found = scores(rows)
    assert found["loss"] == 1.0
    assert found["perplexity"] == pytest.approx(math.e, abs=1e-6)
    assert found["bits_per_byte"] == pytest.approx(8 / math.log(2) / 16, abs=1e-6)


def test_a_byte_that_is_drawn_evenly_has_eight_bits():
    rows = [{**row, "nats": row["bytes"] * math.log(256)} for row in scored(3)]
    assert scores(rows)["bits_per_byte"] == 8


def test_lengths_and_stops():
    rows = scored(2)
    rows[0] |= {"new_tokens": 2, "reference_tokens": 4, "stopped": True}
    rows[1] |= {"new_tokens": 10, "reference_tokens": 4, "stopped": False}
    found = scores(rows)
    assert (found["mean_new_tokens"], found["length_ratio"], found["stopped_fraction"]) == (6, 1.5, 0.5)


def test_a_model_that_knows_nothing_has_a_perplexity_all_the_same():
    assert scores(scored(2, nats=1e9))["perplexity"] == pytest.approx(math.exp(MAX_LOSS))


def test_answers_without_a_text_have_bits_and_no_bytes():
    assert scores(scored(2, nats=math.log(2), bytes=0))["bits_per_byte"] == 2


def test_a_score_of_the_users_own_is_the_mean_and_comes_last():
    rows = scored(4)
    for number, row in enumerate(rows):
        row["scores"] = {**row["scores"], "brevity": number}
    assert scores(rows)["brevity"] == 1.5
    assert list(scores(rows))[-1] == "brevity"


def test_a_score_that_some_items_lack_is_left_out():
    rows = scored(4)
    rows[2]["scores"] = {**rows[2]["scores"], "brevity": 1.0}
    assert "brevity" not in scores(rows)


def test_the_scores_are_those_of_the_contract():
    assert list(scores(scored(3))) == [
        "loss", "perplexity", "bits_per_byte", "rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "exact_match",
        "first_word_accuracy", "stopped_fraction", "mean_new_tokens", "length_ratio",
    ]  # fmt: skip
