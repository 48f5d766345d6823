import json
from pathlib import Path

import pytest
import vl_convert

from ollamake.errors import DataError
from ollamake.scoring.comparison import compare, require_same_items, table, write_scores
from ollamake.scoring.items import Item

BASE = {
    "loss": 3.8736,
    "perplexity": 48.1166,
    "rouge_l": 0.09497,
    "bleu": 0.00936,
    "chrf": 0.15797,
    "exact_match": 0.0,
    "first_word_accuracy": 0.01,
    "items": 100,
    "mean_new_tokens": 47.54,
    "stopped_fraction": 0.07,
}
TUNED = {
    **BASE, "loss": 2.5758, "perplexity": 13.1416, "rouge_l": 0.33353, "bleu": 0.11375, "chrf": 0.26761,
    "exact_match": 0.06, "first_word_accuracy": 0.4, "mean_new_tokens": 12.85, "stopped_fraction": 0.92,
}  # fmt: skip
TABLE = """\
100 test conversations      base     tuned      gain
loss, nats a token         3.874     2.576    -1.298
perplexity                 48.12     13.14    -34.98
ROUGE-L, %                   9.5      33.4     +23.9
BLEU, %                      0.9      11.4     +10.4
chrF, %                     15.8      26.8     +11.0
exact match, %               0.0       6.0      +6.0
first word right, %          1.0      40.0     +39.0
ended by itself, %           7.0      92.0     +85.0
tokens an answer           47.54     12.85    -34.69"""
TEMPLATE = Path(__file__).parents[2] / ".dvc/plots/scores.json"


def items(*ids):
    return [Item(number, [1, 2], [-100, 2], 1, "?", "!") for number in ids]


def test_the_gain_is_tuned_minus_base():
    scores = compare({**BASE, "seconds": 9.0, "peak_memory_mb": 1600}, TUNED)
    assert scores["base"] == BASE
    assert scores["tuned"] == TUNED
    assert scores["gain"]["loss"] == -1.2978
    assert scores["gain"]["exact_match"] == 0.06
    assert set(scores["gain"]) == set(TUNED) - {"items"}


def test_the_table_is_as_it_was_reviewed():
    assert table(compare(BASE, TUNED)) == TABLE


def test_the_columns_hold_whatever_a_random_model_scores():
    rows = table(compare({**BASE, "perplexity": 6.897e14}, {**TUNED, "perplexity": 1.5412e14})).splitlines()
    assert rows[2] == "perplexity              6.90e+14  1.54e+14 -5.36e+14"
    assert len({len(row) for row in rows}) == 1


def test_the_chart_has_a_row_for_each_fraction_and_model(tmp_path):
    write_scores(tmp_path / "scores.csv", compare(BASE, TUNED))
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[:3] == ["metric,model,score", "first word right,base,0.01", "first word right,tuned,0.4"]
    assert len(lines) == 1 + 2 * 6
    assert all(0 <= float(line.split(",")[2]) <= 1 for line in lines[1:])


def test_the_charts_template_draws_a_bar_for_every_row_and_revision(tmp_path):
    from dvc_render import VegaRenderer

    write_scores(tmp_path / "scores.csv", compare(BASE, TUNED))
    header, *lines = [line.split(",") for line in (tmp_path / "scores.csv").read_text().splitlines()]
    rows = [{**dict(zip(header, line, strict=True)), "rev": rev} for rev in ("main", "rank8") for line in lines]
    chart = VegaRenderer(rows, "scores", template=str(TEMPLATE), x="score", y="metric", title="Models", x_label="share")
    drawing = vl_convert.vegalite_to_svg(json.dumps(chart.get_filled_template()))
    assert "<DVC_METRIC" not in json.dumps(chart.get_filled_template())
    assert drawing.count('aria-roledescription="bar"') == 24
    assert all(text in drawing for text in ("Models", "share", "main", "rank8", "40.0%", "ROUGE-L"))


def test_a_baseline_of_the_same_items_in_any_order_is_accepted():
    require_same_items(items("a", "b"), {"b": {}, "a": {}}, Path("predictions.jsonl"))


@pytest.mark.parametrize("answered", [["a"], ["a", "b", "c"], ["a", "c"], []])
def test_a_baseline_of_other_items_is_refused(answered):
    with pytest.raises(DataError, match="scored on other conversations") as caught:
        require_same_items(items("a", "b"), answered, Path("models/baseline/predictions.jsonl"))
    assert caught.value.where == "models/baseline/predictions.jsonl"
    assert "dvc repro evaluate" in caught.value.hint
