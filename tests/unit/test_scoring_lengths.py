import csv
import json
from pathlib import Path

import pytest
import vl_convert

from ollamake.scoring.lengths import write_lengths
from tests.unit.scored import scored

TEMPLATE = Path(__file__).parents[2] / ".dvc/plots/lengths.json"


def written(path, rows):
    write_lengths(path, {"base": rows, "tuned": rows})
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_groups_are_of_similar_length_and_hold_every_item_once(tmp_path):
    lines = [line for line in written(tmp_path / "lengths.csv", scored(60)) if line["model"] == "base"]
    assert len(lines) == 5
    assert sum(int(line["items"]) for line in lines) == 60
    lengths = [float(line["reference_tokens"]) for line in lines]
    assert lengths == sorted(lengths)
    assert all(float(line["low"]) <= float(line["score"]) <= float(line["high"]) for line in lines)


def test_references_of_one_length_are_one_group(tmp_path):
    lines = written(tmp_path / "lengths.csv", scored(7, reference_tokens=4))
    assert [(line["reference_tokens"], line["model"], line["items"]) for line in lines] == [
        ("4.0", "base", "7"),
        ("4.0", "tuned", "7"),
    ]


def test_a_model_that_fails_at_length_shows_it(tmp_path):
    rows = scored(60)
    for row in rows:
        row["scores"] = {**row["scores"], "rouge_l": 1 / row["reference_tokens"]}
    scores = [float(line["score"]) for line in written(tmp_path / "lengths.csv", rows) if line["model"] == "tuned"]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[-1]


@pytest.mark.parametrize("revisions", [["workspace"], ["main", "rank8"]])
def test_the_charts_template_draws_a_line_for_each_model_and_revision(tmp_path, revisions):
    from dvc_render import VegaRenderer

    lines = written(tmp_path / "lengths.csv", scored(60))
    rows = [{**line, "rev": rev} for rev in revisions for line in lines]
    chart = VegaRenderer(rows, "lengths", template=str(TEMPLATE), x="reference_tokens", y="score", title="Lengths")
    filled = json.dumps(chart.get_filled_template())
    assert "<DVC_METRIC_DATA" not in filled
    drawing = vl_convert.vegalite_to_svg(filled)
    assert drawing.count('aria-roledescription="line mark"') == 2 * len(revisions)
    assert drawing.count('aria-roledescription="point"') == 10 * len(revisions)
    assert all(text in drawing for text in ("Lengths", "base", "tuned", *revisions))
