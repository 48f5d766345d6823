"""What people see of a contest: the table, the page of flips and the bars."""

import csv
import json
from pathlib import Path

import pytest
import vl_convert

from ollamake.gate import charts
from ollamake.gate.comparison import Comparison, Contest, Standing, compare
from ollamake.gate.flips import Flip, flips, page
from ollamake.gate.table import table
from ollamake.scoring.items import Item
from ollamake.scoring.resampling import Difference, Interval
from tests.unit.scored import scored

TEMPLATE = Path(__file__).parents[2] / ".dvc/plots/scores.json"
TABLE = """\
100 test conversations, ± 95 %          base         tuned           gain       p  release on 90           lead       p
  loss, nats a token            3.874 ±0.278  1.656 ±0.196  +2.218 ±0.236  0.0002   1.654 ±0.206  +0.000 ±0.000  1.0000
> ROUGE-L, %                        9.2 ±1.3     45.2 ±5.7     +36.0 ±5.7  0.0002      40.5 ±5.8      +3.8 ±3.1  0.0162
  mine                          0.250 ±0.000  0.500 ±0.000  +0.250 ±0.000  0.0002              -              -
  tokens an answer                 47.5 ±0.6     11.5 ±1.8     -36.0 ±2.0              15.3 ±2.9      -3.5 ±2.3"""


def by_id(rows):
    return {row["id"]: row for row in rows}


def with_scores(rows, name, values):
    return by_id({**row, "scores": {**row["scores"], name: value}} for row, value in zip(rows, values, strict=True))


@pytest.fixture(scope="module")
def contest():
    weak, good, better = (by_id(scored(20, right, seed)) for right, seed in ((0.3, 1), (0.7, 2), (0.8, 3)))
    return Contest(weak, good, dict(list(better.items())[:12]), 12)


@pytest.fixture(scope="module")
def comparison(contest):
    return compare(contest)


@pytest.fixture(scope="module")
def items(contest):
    return {name: Item(name, [1, 2], [-100, 2], 1, f"Wish {name}", "ls `a`") for name in contest.tuned}


def test_the_table_is_as_it_was_reviewed():
    names = ("loss", "rouge_l", "mine", "mean_new_tokens")

    def standing(items, *figures):
        named = dict(zip(names, figures, strict=True))
        ends = {name: Interval(score - half, score + half) for name, (score, half) in named.items()}
        return Standing(items, {name: score for name, (score, _) in named.items()}, ends)

    def gains(*figures):
        return {name: Difference(gain, gain - half, gain + half, p) for name, gain, half, p in figures}

    base = standing(100, (3.8736, 0.278), (0.092, 0.013), (0.25, 0), (47.47, 0.6))
    tuned = standing(100, (1.6556, 0.196), (0.4519, 0.057), (0.5, 0), (11.48, 1.8))
    release = standing(90, (1.6541, 0.206), (0.405, 0.058), (0, 0), (15.3, 2.9))
    del release.scores["mine"]
    gain = gains(
        ("loss", 2.218, 0.236, 0.0002),
        ("rouge_l", 0.36, 0.057, 0.0002),
        ("mine", 0.25, 0, 0.0002),
        ("mean_new_tokens", -36, 2, 0.0002),
    )
    lead = gains(("loss", -0.0001, 0, 1.0), ("rouge_l", 0.038, 0.031, 0.0162), ("mean_new_tokens", -3.5, 2.3, 0.1))
    shown = table(Comparison({"base": base, "tuned": tuned, "release": release}, gain, lead), "rouge_l")
    assert shown == TABLE


def test_every_line_has_the_models_side_by_side_and_fits_a_wide_terminal(comparison):
    lines = table(comparison, "rouge_l").splitlines()
    assert lines[0].split()[-7:] == ["gain", "p", "release", "on", "12", "lead", "p"]
    assert [line[:2] for line in lines].count("> ") == 1
    assert lines[6].startswith("> ROUGE-L, %")
    assert len(lines) == 14
    assert max(map(len, lines)) <= 125
    assert all(line.count("±") == 5 for line in lines[1:])


def test_a_difference_in_length_is_neither_better_nor_worse(comparison):
    line = next(line for line in table(comparison, "loss").splitlines() if "tokens an answer" in line)
    assert not line.rstrip().endswith(("0.0002", "1.0000"))


def test_a_model_that_knows_nothing_does_not_break_the_columns():
    lost = by_id(scored(3, nats=900.0, tokens=3))
    lines = table(compare(Contest(lost, by_id(scored(3)))), "loss").splitlines()
    assert "e+130" in lines[2]
    assert len({line.index("±") for line in lines[1:]}) <= 3


def test_items_flip_both_ways_the_largest_change_first():
    rows = scored(4)
    before, after = with_scores(rows, "chrf", [0.5, 0.5, 0.5, 0.5]), with_scores(rows, "chrf", [0.4, 0.5, 0.9, 0.1])
    assert [(flip.id[-1], round(flip.change, 6)) for flip in flips(before, after, "chrf")] == [
        ("2", 0.4), ("3", -0.4), ("0", -0.1),
    ]  # fmt: skip


def test_a_higher_loss_is_a_flip_for_the_worse():
    before, after = by_id(scored(1, nats=4.0, tokens=4)), by_id(scored(1, nats=8.0, tokens=4))
    assert flips(before, after, "loss") == [Flip(f"{0:016x}", 1.0, 2.0, -1.0)]
    assert flips(before, after, "bits_per_byte")[0].change < 0
    assert flips(before, after, "perplexity")[0].change < 0


def test_an_answer_that_stops_now_is_a_flip_for_the_better():
    before, after = by_id(scored(1, stopped=False)), by_id(scored(1))
    assert [flip.change for flip in flips(before, after, "stopped_fraction")] == [1.0]


def test_the_page_lists_both_ways_against_both_and_what_is_worse_than_the_release_first(items):
    rows = scored(4)
    before, now, shipped = (
        with_scores(rows, "chrf", values)
        for values in ([0.5, 0.5, 0.2, 0.2], [0.4, 0.6, 0.2, 0.9], [0.6, 0.5, 0.2, 0.9])
    )
    text = page(Contest(before, now, shipped, 4), "chrf", items)
    assert [line for line in text.splitlines() if line.startswith(("## ", "### "))] == [
        "## Worse than the release (1)",
        "### `0000000000000000` 0.6 → 0.4",
        "## Worse than the base model (1)",
        "### `0000000000000000` 0.5 → 0.4",
        "## Better than the release (1)",
        "### `0000000000000001` 0.5 → 0.6",
        "## Better than the base model (2)",
        "### `0000000000000003` 0.2 → 0.9",
        "### `0000000000000001` 0.5 → 0.6",
    ]
    assert "- against the release, of 4: 1 better, 1 worse, 2 as good\n" in text
    assert "- against the base model, of 4: 2 better, 1 worse, 1 as good\n" in text
    assert "prompt     Wish 0000000000000000\nreference  ls `a`\n" in text


def test_a_long_list_is_cut_and_says_so(items):
    rows = scored(20)
    text = page(Contest(with_scores(rows, "chrf", [0.5] * 20), with_scores(rows, "chrf", [0.6] * 20)), "chrf", items)
    assert "## Better than the base model (20)" in text
    assert text.count("\n### ") == 10
    assert text.endswith("10 more are not shown.\n")


def test_a_release_without_the_score_is_left_out(contest, items):
    ours, untuned = (with_scores(list(rows.values()), "mine", range(20)) for rows in (contest.tuned, contest.base))
    text = page(Contest(untuned, ours, contest.release, 12), "mine", items)
    assert "the release" not in text
    assert "of 20: 0 better, 0 worse, 20 as good" in text


def test_the_bars_are_the_fractions_with_their_intervals(tmp_path, comparison):
    charts.write_scores(tmp_path / "scores.csv", comparison.standings)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(rows) == 8 * 3
    assert rows[0]["metric"] == "ROUGE-1"
    assert all(0 <= float(row["low"]) <= float(row["score"]) <= float(row["high"]) <= 1 for row in rows)


@pytest.mark.parametrize("revisions", [["workspace"], ["main", "rank8"]])
def test_the_template_draws_a_bar_and_an_interval_for_every_row_and_revision(tmp_path, comparison, revisions):
    from dvc_render import VegaRenderer

    charts.write_scores(tmp_path / "scores.csv", comparison.standings)
    lines = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    rows = [{**line, "rev": rev} for rev in revisions for line in lines]
    chart = VegaRenderer(rows, "scores", template=str(TEMPLATE), x="score", y="metric", title="Models", x_label="share")
    filled = json.dumps(chart.get_filled_template())
    assert "<DVC_METRIC_DATA" not in filled
    drawing = vl_convert.vegalite_to_svg(filled)
    assert drawing.count('aria-roledescription="bar"') == 24 * len(revisions)
    assert drawing.count('aria-roledescription="rule mark"') == 24 * len(revisions)
    assert all(text in drawing for text in ("Models", "share", "ROUGE-L", "release", *revisions))
