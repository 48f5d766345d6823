"""The page about a study: true to its trials, offline, and honest about what cannot be told."""

import json
import re

import optuna
import pytest

from ollamake.sweep.errors import SweepError
from ollamake.sweep.report import write_report
from ollamake.sweep.report_charts import charts
from ollamake.sweep.report_data import importance, read_results
from ollamake.sweep.report_sections import build
from ollamake.sweep.report_tradeoff import front
from tests.unit.swept import experiment, suggest, sweep

BOTH = {"rouge_l": "maximize", "loss": "minimize"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A checkout with a study of one objective, a small one, and one of two objectives."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DVC_ROOT", raising=False)
        optuna.logging.disable_default_handler()
        sweep("one", 30)
        sweep("two", 20, objective=BOTH)
        sweep("few", 4)
    return folder


@pytest.fixture(autouse=True)
def here(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("OLLAMAKE_SWEEP_STORAGE", raising=False)


def text(name):
    results = read_results(None, name)
    shares = importance(results)
    return build(results, shares, list(charts(results, shares))).markdown


def section(name, title):
    return text(name).partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page_fetches_nothing_and_has_a_picture_of_each_chart(tmp_path):
    page = write_report(read_results(None, "one"), tmp_path / "report")
    content = page.read_text()
    assert "default-src 'none'" in content
    assert "<script" not in content
    assert "src=" not in content.replace("default-src", "").replace("style-src", "")
    assert not [link for link in content.split('href="')[1:] if not link.startswith("#")]
    pictures = {path.stem for path in page.parent.glob("*.png")}
    assert pictures == {"history", "parallel", "importance", "cost", "reported"}
    assert content.count("<figure>") == len(pictures)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in page.parent.glob("*.png"))


def test_the_ids_of_the_charts_do_not_meet(tmp_path):
    ids = re.findall(r'\bid="([^"]+)"', write_report(read_results(None, "few"), tmp_path / "report").read_text())
    assert len(ids) == len(set(ids)) >= 7  # the sections, and whatever Vega numbers


def test_a_new_report_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    for name in ("old.png", "report.html"):
        (folder / name).write_bytes(b"")
    page = write_report(read_results(None, "few"), folder)
    assert not (folder / "old.png").exists()
    assert page.read_text()


@pytest.mark.parametrize("names", [["notes.md"], ["report.html", "notes.md"], ["photo.png"]])
def test_a_folder_that_is_no_report_is_left_as_it_is(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(SweepError, match="something else"):
        write_report(read_results(None, "few"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_file_in_the_place_of_the_report_is_left_as_it_is(tmp_path):
    (tmp_path / "few").write_text("mine")
    with pytest.raises(SweepError, match="something else"):
        write_report(read_results(None, "few"), tmp_path / "few")
    assert (tmp_path / "few").read_text() == "mine"


def test_parameters_are_shown_as_they_ran_and_not_as_they_were_drawn():
    study = sweep("digits", 3)
    best = study.best_trial
    drawn, ran = best.params["learning_rate"], best.user_attrs["overrides"]["learning_rate"]
    assert drawn != ran
    other = optuna.trial.create_trial(
        value=best.value + 0.1, params=best.params, distributions=best.distributions,
        user_attrs={**best.user_attrs, "overrides": {**best.user_attrs["overrides"], "learning_rate": 0.00125}},
    )  # fmt: skip
    study.add_trial(other)
    row = next(line for line in section("digits", "Best against default").splitlines() if "learning_rate" in line)
    assert row.endswith(" 0.00125 |")
    rows = charts(read_results(None, "digits"), {})["parallel"]["data"]["values"]
    heights = {row["trial"]: row["height"] for row in rows if row["axis"] == "learning_rate"}
    assert heights[3] != heights[best.number]


def test_every_trial_stands_in_the_table_with_its_score_interval_stages_and_overrides():
    results = read_results(None, "one")
    rows = [line for line in section("one", "All trials").splitlines() if line.startswith("| ") and "lora" in line]
    assert len(rows) == len(results.trials) == 30
    trial = results.trials[0]
    assert f"| {100 * trial.value:.1f} % |" in rows[0]
    for word in ("finished", "train evaluate", f"`lora_rank={trial.params['lora_rank']}`", "`sweep-000`"):
        assert word in rows[0]
    assert "failed" in rows[3]
    assert "pruned" in rows[4]
    assert rows[4].endswith("| – |"), "a pruned trial has no score"


def test_an_error_of_a_trial_is_shown_and_has_no_effect(tmp_path):
    assert "trial 3: `train: the loss is no number" in section("few", "All trials")
    assert "<script>" not in write_report(read_results(None, "few"), tmp_path / "report").read_text()


def test_the_best_stands_beside_the_default():
    best = read_results(None, "one").best[0]
    shown = section("one", "Best against default")
    assert f"trial {best.number}" in shown
    assert f"| **ROUGE-L** | 44.4 % | {100 * best.value:.1f} %" in shown
    assert "looks a little better than it is" in shown


def test_a_default_that_no_trial_beats_is_not_passed_over():
    assert read_results(None, "few").best[0].value < 0.444
    assert "no trial beats the default" in section("few", "Best against default")


def test_a_gain_within_the_interval_of_its_experiment_may_be_chance():
    study = sweep("narrow", 3, seed=5)
    best = study.best_trial
    study.set_user_attr("default", {"metrics": {"rouge_l": best.value - 0.01}, "params": {}})
    assert "may be chance" not in section("narrow", "Best against default"), "there is no experiment, and no interval"
    again = optuna.trial.create_trial(
        value=best.value + 0.001, params=best.params, distributions=best.distributions,
        user_attrs={**best.user_attrs, "rev": experiment(best.user_attrs["metrics"])},
    )  # fmt: skip
    study.add_trial(again)
    low, high = (f"{100 * (best.value + by):.1f} %" for by in (-0.05, 0.05))
    assert f"[{low}, {high}]" in section("narrow", "Best against default")
    assert f"[{low}, {high}]" in section("narrow", "All trials")
    assert "the gain may be chance" in section("narrow", "Best against default")


def test_under_fixed_values_the_default_is_the_trial_that_has_it_and_not_the_commit():
    study = sweep("fixed", 6)
    first = study.trials[0]
    spec = {**json.loads(study.user_attrs["spec"]), "fixed": {"max_steps": 40}}
    study.set_user_attr("spec", json.dumps(spec))
    assert read_results(None, "fixed").default_metrics == {}, "HEAD ran more steps"
    assert "HEAD did not: it does not compare" in section("fixed", "Best against default")
    study.set_user_attr(
        "default", {"metrics": {"rouge_l": 0.99}, "params": {**first.user_attrs["overrides"], "warmup_ratio": 0.1}}
    )
    assert read_results(None, "fixed").default_metrics["rouge_l"] == first.value
    shown = section("fixed", "Best against default")
    assert "| trial 0, default |" in shown
    assert "`max_steps=40`, and HEAD did not: compare with trial 0" in shown


def test_the_parameter_that_decides_is_the_most_important():
    shares = importance(read_results(None, "one"))
    assert next(iter(shares)) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1)


def test_too_few_trials_give_no_importance_and_say_so():
    results = read_results(None, "few")
    assert importance(results) == {}
    assert "importance" not in charts(results, {})
    assert "wants 10 finished trials" in section("few", "Importance")


def test_pruned_trials_stand_with_the_step_and_value_they_ended_at():
    results = read_results(None, "one")
    rows = [line for line in section("one", "Pruned trials").splitlines() if "lora_rank" in line]
    assert len(rows) == len(results.by_state["pruned"]) == 6
    assert rows[0].endswith(f"| 3 | {results.by_state['pruned'][0].intermediate_values[3]:.4g} |")


def test_several_objectives_show_their_front():
    results = read_results(None, "two")
    found = charts(results, {})
    assert {"history-rouge_l", "history-loss", "cost-rouge_l", "front-rouge_l-loss"} <= set(found)
    best = {row["trial"] for row in found["front-rouge_l-loss"]["data"]["values"] if row["best"]}
    assert best == {str(trial.number) for trial in results.study.best_trials}


def test_the_front_holds_what_nothing_beats_in_both():
    points = [(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (2.0, 4.0), (1.0, 0.5)]
    assert front(points, (False, True)) == {(1.0, 1.0), (2.0, 4.0)}
    assert front(points, (True, False)) == {(3.0, 2.0), (1.0, 0.5)}


def test_the_best_so_far_never_gets_worse():
    rows = charts(read_results(None, "two"), {})["history-loss"]["data"]["values"]
    assert [row["best"] for row in rows] == sorted((row["best"] for row in rows), reverse=True)


def test_a_parameter_that_a_condition_left_out_stands_below_its_axis():
    rows = charts(read_results(None, "one"), {})["parallel"]["data"]["values"]
    results = read_results(None, "one")
    without = {trial.number for trial in results.complete if "warmup_ratio" not in trial.params}
    assert without
    assert {row["trial"] for row in rows if row["height"] < 0} == without


def test_without_a_name_the_newest_study_is_taken_and_a_wrong_one_is_answered_with_those_there_are():
    sweep("newest", 1)
    assert read_results(None, None).study.study_name == "newest"
    with pytest.raises(SweepError, match="there is no study three") as caught:
        read_results(None, "three")
    assert "few" in caught.value.hint
    assert "two" in caught.value.hint


def test_a_value_that_is_no_number_is_left_out_of_the_charts():
    study = sweep("diverged", 3)
    drawn = charts(read_results(None, "diverged"), {})
    diverged = study.ask()
    suggest(diverged)
    diverged.report(float("nan"), 1)
    study.tell(diverged, float("inf"))
    results = read_results(None, "diverged")
    assert charts(results, {}) == drawn
    assert "| 3 | finished |" in build(results, {}, list(drawn)).markdown


def test_a_trial_that_was_broken_off_says_which_one_does_it_again():
    study = sweep("broken", 4)
    study.enqueue_trial(study.trials[3].params, user_attrs={"again": 3})
    rows = [line for line in section("broken", "All trials").splitlines() if line.startswith("| 3 |")]
    assert "| again as 4 |" in rows[0]


def test_a_study_without_a_finished_trial_is_still_a_page(tmp_path):
    from ollamake.sweep.storage import open_storage

    study = optuna.create_study(storage=open_storage(None, "new"), study_name="new")
    with pytest.raises(SweepError, match="no trial yet"):
        read_results(None, "new")
    study.ask()
    assert "No trial has finished yet" in write_report(read_results(None, "new"), tmp_path / "report").read_text()
