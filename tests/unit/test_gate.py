"""The stage gate, on scored items as the two stages before it leave them."""

import csv
import re

import pytest
from pydantic import ValidationError

from ollamake.errors import DataError, ParamsError
from ollamake.files import read_json, write_jsonl
from ollamake.gate.verdict import GateError
from ollamake.scoring import resampling
from stages import gate
from tests.arrow import write_tokens
from tests.unit.scored import references, scored

ITEMS = 40
PARAMS = {"eval_metric": "none", "gate_max_regression": 0.02, "gate_metric": "rouge_l", "gate_min_gain": 0.0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on these items of the two models and the release."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resampling, "RESAMPLES", 500)
    rows = [
        {
            "id": f"{number:016x}",
            "input_ids": [1, 2, 3],
            "labels": [-100, 2, 3],
            "prompt": f"Wish {number}",
            "reference": reference,
        }
        for number, reference in enumerate(references(ITEMS))
    ]
    write_tokens(tmp_path / gate.TEST, rows)

    def ran(base, tuned, release=(), **params):
        for path, items in (
            (gate.BASELINE / "items.jsonl", base),
            (gate.EVALUATED / "items.jsonl", tuned),
            (gate.SHIPPED, release),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, list(items))
        gate.main(gate.Params(**{**PARAMS, **params}))
        return read_json(gate.METRICS)

    return ran


@pytest.fixture(scope="module")
def weak():
    return scored(ITEMS, right=0.3)


@pytest.fixture(scope="module")
def good():
    return scored(ITEMS, right=0.7, seed=2)


@pytest.fixture(scope="module")
def better():
    return scored(ITEMS, right=0.9, seed=3)


def test_a_better_model_passes_and_all_of_it_is_written(run, weak, good, capsys):
    found = run(weak, good)
    assert found["passed"] is True
    assert found["reasons"] == []
    assert found["remarks"] == ["not compared with a release: there is none"]
    assert (found["metric"], found["items"]) == ("rouge_l", ITEMS)
    assert found["gain"]["rouge_l"] == pytest.approx(found["tuned"]["rouge_l"] - found["base"]["rouge_l"], abs=2e-6)
    assert found["gain"]["rouge_l"] > 0.2
    assert found["p"]["rouge_l"] < 0.01
    assert set(found["intervals"]) == {"base", "tuned", "gain"}
    assert "release" not in found
    printed = capsys.readouterr().out
    assert printed.startswith(f"{ITEMS} test conversations, ± 95 %")
    assert printed.endswith("the gate is open; what got better and worse: models/flips.md\n")


@pytest.mark.parametrize("nothing", ["", "\n"])
def test_there_may_be_no_release_yet(run, weak, good, nothing):
    run(weak, good)
    gate.SHIPPED.write_text(nothing)
    gate.main(gate.Params(**PARAMS))
    assert "release" not in read_json(gate.METRICS)


def test_a_lower_loss_is_a_gain(run, weak, good):
    found = run(weak, good, gate_metric="loss")
    assert found["gain"]["loss"] == pytest.approx(found["base"]["loss"] - found["tuned"]["loss"], abs=2e-6)
    low, high = found["intervals"]["gain"]["loss"]
    assert 0 < low < found["gain"]["loss"] < high


@pytest.mark.parametrize("metric", ["rouge_l", "loss", "bleu", "bits_per_byte", "first_word_accuracy"])
def test_a_worse_model_fails_with_the_table_and_what_to_do(run, weak, good, capsys, metric):
    with pytest.raises(GateError) as caught:
        run(good, weak, gate_metric=metric)
    assert "the gate is closed, and nothing is shipped\n  gain on base in" in str(caught.value)
    assert "gate_min_gain asks for +0.0" in caught.value.problem
    assert "models/flips.md" in caught.value.hint
    assert "dvc repro" in caught.value.hint
    printed = capsys.readouterr().out
    assert re.search(r"^> .* ±.* -\d", printed, flags=re.MULTILINE)
    assert "the gate is open" not in printed


def test_what_a_failed_gate_wrote_can_be_looked_at(run, weak, good):
    with pytest.raises(GateError):
        run(good, weak)
    assert read_json(gate.METRICS)["passed"] is False
    assert "## Worse than the base model" in gate.FLIPS.read_text()
    assert gate.SCORES.is_file()


def test_a_gain_may_be_asked_for(run, weak, good):
    gain = run(weak, good)["gain"]["rouge_l"]
    assert run(weak, good, gate_min_gain=gain)["passed"]
    with pytest.raises(GateError, match=r"asks for \+"):
        run(weak, good, gate_min_gain=gain + 0.0001)
    assert run(good, weak, gate_min_gain=-1.0)["passed"]


def test_equal_models_pass_a_gate_that_asks_for_nothing_and_are_not_called_different(run, good):
    found = run(good, good)
    assert found["passed"]
    assert set(found["gain"].values()) == {0}
    assert set(found["p"].values()) == {1}
    assert "this may be chance" in found["remarks"][0]
    assert "-0.0" not in gate.METRICS.read_text()


def test_a_model_worse_than_the_release_fails_though_it_is_better_than_base(run, weak, good, better):
    with pytest.raises(GateError) as caught:
        run(weak, good, better)
    assert "lead on the release in ROUGE-L, %: -" in caught.value.problem
    assert f"on the {ITEMS} conversations that both answered; gate_max_regression allows -2.0" in caught.value.problem
    assert "gain on base" not in caught.value.problem
    assert run(weak, good, better, gate_max_regression=0.9)["passed"]


def test_a_loss_worse_than_the_releases_fails(run, weak, good, better):
    with pytest.raises(GateError, match="lead on the release in loss"):
        run(weak, good, better, gate_metric="loss")
    assert run(weak, better, good, gate_metric="loss")["lead"]["loss"] > 0


def test_the_release_is_compared_on_the_items_that_both_have(run, weak, good, better, capsys):
    other = [{**row, "id": f"other {number}"} for number, row in enumerate(better)]
    found = run(weak, better, [*good[:15], *other])
    assert found["release_items"] == 15
    here = sum(row["scores"]["rouge_l"] for row in better[:15]) / 15
    assert found["lead"]["rouge_l"] == pytest.approx(here - found["release"]["rouge_l"], abs=2e-6)
    assert found["tuned"]["rouge_l"] != pytest.approx(here, abs=1e-4)
    assert "release on 15" in capsys.readouterr().out


def test_a_release_that_answered_other_texts_under_the_same_ids_shares_nothing(run, weak, good, better):
    found = run(weak, good, [{**row, "bytes": row["bytes"] + 1} for row in better])
    assert found["remarks"][-1] == "not compared with a release: it answered none of these conversations"


def test_a_release_with_another_tokenizer_is_compared_by_bytes_and_not_by_tokens(run, weak, good, better):
    release = [{**row, "tokens": 2 * row["tokens"]} for row in good]
    with pytest.raises(ParamsError, match="another tokenizer") as caught:
        run(weak, better, release, gate_metric="loss")
    assert "bits_per_byte" in caught.value.hint
    found = run(weak, better, release, gate_metric="bits_per_byte")
    assert "bits_per_byte" in found["lead"]
    assert "loss" not in found["lead"]


def test_a_score_of_the_users_own_decides_and_an_older_release_may_lack_it(run, weak, good, better):
    def with_own(rows, value):
        return [{**row, "scores": {**row["scores"], "mine": value}} for row in rows]

    own = {"eval_metric": "metrics_own/mine.py", "gate_metric": "mine"}
    found = run(with_own(good, 1.0), with_own(weak, 3.5), better, **own)
    assert found["gain"]["mine"] == 2.5
    assert found["remarks"][-1] == "not compared with the release: its answers have no score mine"
    with pytest.raises(GateError, match="in mine: -2.5"):
        run(with_own(good, 3.5), with_own(weak, 1.0), **own)


def test_a_score_that_nobody_has_is_refused_with_those_that_there_are(run, weak, good):
    with pytest.raises(ParamsError, match="gate_metric is mine, which is no score of single answers") as caught:
        run(weak, good, gate_metric="mine", eval_metric="metrics_own/mine.py")
    assert "rouge_l" in caught.value.problem


@pytest.mark.parametrize("metric", ["rouge", "mean_new_tokens", "length_ratio"])
def test_a_score_that_does_not_exist_or_has_no_better_side_is_refused_before_any_work(metric):
    with pytest.raises(ValidationError, match="gate_metric must be one of loss, perplexity"):
        gate.Params(**{**PARAMS, "gate_metric": metric})


@pytest.mark.parametrize(("key", "value"), [("gate_max_regression", -0.1), ("gate_min_gain", "much")])
def test_a_bound_of_the_wrong_kind_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        gate.Params(**{**PARAMS, key: value})


def test_models_that_answered_other_items_are_not_compared(run, weak, good):
    with pytest.raises(DataError, match="answers are to other conversations") as caught:
        run(weak[1:], good)
    assert caught.value.where == "models/baseline/items.jsonl"


def test_each_task_has_its_bars(run, weak, good, better):
    tasks = ["files", "network", "files", None]
    ours, untuned = ([{**row, "task": tasks[number % 4]} for number, row in enumerate(rows)] for rows in (good, weak))
    run(untuned, ours, better, gate_max_regression=1.0)
    rows = list(csv.DictReader(gate.TASKS.read_text().splitlines()))
    assert [(row["task"], row["model"]) for row in rows] == [
        (task, model) for task in ("all (40)", "files (20)", "network (10)") for model in ("base", "tuned", "release")
    ]
    files = [row["scores"]["rouge_l"] for row in ours if row["task"] == "files"]
    assert float(rows[4]["score"]) == pytest.approx(sum(files) / 20, abs=2e-6)
    assert rows[4]["text"] == f"{100 * sum(files) / 20:.1f} %"


def test_the_same_items_give_the_same_bytes(run, weak, good, better):
    written = (gate.METRICS, gate.FLIPS, gate.SCORES, gate.TASKS)
    run(weak, good, better, gate_max_regression=1.0)
    before = [path.read_bytes() for path in written]
    run(weak, good, better, gate_max_regression=1.0)
    assert [path.read_bytes() for path in written] == before
