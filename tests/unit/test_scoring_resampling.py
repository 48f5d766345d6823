"""Intervals and significance against other implementations, and against what is known beforehand."""

import itertools

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from scipy import stats

from ollamake.scoring import resampling
from ollamake.scoring.aggregate import Statistics
from ollamake.scoring.resampling import differences, intervals
from tests.unit.scored import references, scored

ITEMS = 60


@pytest.fixture(scope="module")
def good():
    return scored(ITEMS, right=0.7)


@pytest.fixture(scope="module")
def bad():
    return scored(ITEMS, right=0.4, seed=2)


def with_own(own):
    """Rows that differ in one score only."""
    [row] = scored(1)
    return [{**row, "scores": {**row["scores"], "own": float(value)}} for value in own]


def values(rows, name):
    return np.array([row["scores"][name] for row in rows])


@pytest.mark.parametrize("name", ["rouge_l", "exact_match"])
def test_the_interval_of_a_mean_is_scipys(good, name):
    expected = stats.bootstrap(
        (values(good, name),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    assert intervals(Statistics.of(good))[name] == pytest.approx(tuple(expected), abs=0.02)


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU(force=True)), ("chrf", CHRF())])
def test_the_interval_of_bleu_and_chrf_is_as_wide_as_sacrebleus(good, name, metric):
    score = metric.corpus_score([row["prediction"] for row in good], [list(references(ITEMS))], n_bootstrap=2000)
    low, high = intervals(Statistics.of(good))[name]
    assert (low + high) / 2 == pytest.approx(score._mean / 100, abs=0.01)
    assert (high - low) / 2 == pytest.approx(score._ci / 100, abs=0.01)


def test_the_interval_of_the_loss_resamples_whole_items_not_tokens():
    # Each item has many tokens, and all of an item's are alike: what counts is how many items there are.
    rows = [{**row, "nats": 100.0 * (number % 3), "tokens": 100} for number, row in enumerate(scored(30))]
    low, high = intervals(Statistics.of(rows))["loss"]
    spread = np.std([0, 1, 2]) / np.sqrt(30)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 500)
    draw, covered = np.random.default_rng(3), 0
    for _ in range(60):
        low, high = intervals(Statistics.of(with_own(draw.normal(2.0, 1.0, 50))))["own"]
        covered += low <= 2.0 <= high
    assert 51 <= covered <= 60


def test_one_item_has_an_interval_without_width(good):
    found = intervals(Statistics.of(good[:1]))
    assert all(interval.low == interval.high for interval in found.values())


def test_a_better_model_is_better_beyond_chance(good, bad):
    found = differences(Statistics.of(good), Statistics.of(bad))
    for name in ("rouge_1", "rouge_2", "rouge_l", "bleu", "chrf"):
        assert found[name].value > 0.1
        assert 0 < found[name].low < found[name].value < found[name].high
        assert found[name].p < 0.01
    assert found["loss"].value < 0
    assert found["loss"].p < 0.01


def test_the_other_way_round_everything_is_turned(good, bad):
    there, back = (differences(Statistics.of(a), Statistics.of(b)) for a, b in ((good, bad), (bad, good)))
    assert back["bleu"].value == -there["bleu"].value
    assert (back["bleu"].low, back["bleu"].high) == pytest.approx((-there["bleu"].high, -there["bleu"].low), abs=1e-6)
    assert back["bleu"].p == pytest.approx(there["bleu"].p, abs=0.01)


def test_equal_models_do_not_differ(good):
    for difference in differences(Statistics.of(good), Statistics.of(good)).values():
        assert difference == (0, 0, 0, 1)


def test_models_of_the_same_skill_seldom_differ_significantly(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 500)
    draw, mistaken = np.random.default_rng(4), 0
    for _ in range(60):
        one, other = (Statistics.of(with_own(draw.exponential(1.0, 40))) for _ in range(2))
        mistaken += differences(one, other)["own"].p < 0.05
    assert mistaken <= 8  # 3 are to be expected, more than 8 in one case of 250


def test_the_p_value_is_that_of_every_possible_exchange():
    one, other = scored(8, 0.9), scored(8, 0.5, seed=7)
    apart = values(one, "rouge_l") - values(other, "rouge_l")
    found = [abs(np.dot(signs, apart)) for signs in itertools.product((1, -1), repeat=8)]
    exact = np.mean(np.array(found) >= abs(apart.sum()) - 1e-9)
    assert 0 < exact < 0.5
    p = differences(Statistics.of(one), Statistics.of(other))["rouge_l"].p
    assert p == pytest.approx(exact, abs=0.02)


def test_ties_count_as_chance():
    # Two of sixty items differ, both in favour of one: the four exchanges give 2, 0, 0 and -2.
    one, other = scored(ITEMS, 1.0), scored(ITEMS, 1.0)
    for row in other[:2]:
        row["scores"] = {**row["scores"], "exact_match": 0.0}
    found = differences(Statistics.of(one), Statistics.of(other))["exact_match"]
    assert found.value == pytest.approx(2 / ITEMS, abs=1e-6)
    assert found.p == pytest.approx(0.5, abs=0.03)


def test_only_scores_of_both_are_compared(good):
    more = [{**row, "scores": {**row["scores"], "own": 1.0}} for row in good]
    assert "own" not in differences(Statistics.of(more), Statistics.of(good))
    assert "own" not in differences(Statistics.of(good), Statistics.of(more))


def test_the_same_items_give_the_same_numbers_and_pieces_of_any_size_too(good, bad, monkeypatch):
    before = intervals(Statistics.of(good)), differences(Statistics.of(good), Statistics.of(bad))
    assert (intervals(Statistics.of(good)), differences(Statistics.of(good), Statistics.of(bad))) == before
    monkeypatch.setattr(resampling, "CHUNK", 7000)
    assert intervals(Statistics.of(good)) == before[0]
