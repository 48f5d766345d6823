"""Modes are the same graph with other values, in a copy: the workspace and what is served stay as they are."""

import re
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once
KEPT = ("params.yaml", "dvc.lock", "metrics/evaluate.json", "models/tuned/adapter_model.safetensors")


@pytest.fixture
def without_experiments(project):
    yield project
    project.run("dvc", "exp", "remove", "--all-commits", ok=False)


def test_a_first_look_is_an_experiment_that_leaves_the_workspace_alone(without_experiments):
    project = without_experiments
    before = [(project.folder / name).read_bytes() for name in KEPT]
    look = ("mode", "design", "--set-param", "max_steps=2", "-S", "lora_rank=2")
    shown = project.run(sys.executable, "-m", "ollamake", *look).stdout
    assert [(project.folder / name).read_bytes() for name in KEPT] == before
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert "Training of 2 steps" in shown
    assert "test conversations, gate on ROUGE-L passed" in shown
    [printed] = re.findall(r"^    (dvc get .*?) +#", shown, flags=re.MULTILINE)
    project.run("bash", "-c", printed)
    assert "# Answers side by side" in (project.folder / "logs/design-1.md").read_text()

    [row] = [
        row
        for rev in project.json("dvc", "exp", "show", "--json", "--num", "1")
        for group in rev["experiments"] or []
        for row in group["revs"]
        if row["name"] == "design-1"
    ]
    assert row["data"]["params"]["params.yaml"]["data"]["max_steps"] == 2

    project.run("dvc", "exp", "apply", "design-1")
    assert project.metrics("train")["steps"] == 2


@pytest.mark.nightly
def test_testing_measures_all_that_there_is_and_trains_nothing(without_experiments):
    project = without_experiments
    before = [(project.folder / name).read_bytes() for name in KEPT]
    look = ("mode", "testing", "-S", "gguf_quantization=Q8_0 Q4_K_M", "-S", "parity_prompts=3")
    looked = project.run(sys.executable, "-m", "ollamake", *look)
    assert [(project.folder / name).read_bytes() for name in KEPT] == before
    assert "Running stage 'convert'" in looked.stderr
    assert "Running stage 'train'" not in looked.stderr
    [printed] = re.findall(r"^    (dvc get .*?) +#", looked.stdout, flags=re.MULTILINE)
    project.run("bash", "-c", printed)
    assert "Q4_K_M" in (project.folder / "logs/testing-1.html").read_text()
    project.run("dvc", "exp", "remove", "testing-1")


def test_engineering_builds_in_the_workspace_and_tells_what_changed(project):
    project.set(gate_min_gain=-2.0)
    shown = project.run(sys.executable, "-m", "ollamake", "mode", "engineering").stdout
    assert project.metrics("gate")["passed"]
    assert re.search(r"gate_min_gain\W+-1(\.0)?\W+-2", shown), shown
