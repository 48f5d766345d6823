"""A closed gate in the real graph."""

import re

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once


def test_a_closed_gate_ships_nothing_says_why_and_opens_again(project):
    project.set(gate_min_gain=1.0)
    refused = project.run("dvc", "repro", ok=False)
    ran = re.findall(r"Running stage '(\w+)'", refused.stdout)
    assert "gate" in ran
    assert "export" not in ran
    assert "test conversations, ± 95 %" in refused.stdout
    assert "the gate is closed, and nothing is shipped" in refused.stderr
    assert refused.returncode != 0
    assert project.metrics("gate")["passed"] is False
    assert "gate" in project.json("dvc", "status", "--json")
    project.set(gate_min_gain=-1.0)
    project.repro()
    assert project.metrics("gate")["passed"] is True


def test_a_bound_of_the_gate_scores_nothing_again(project):
    project.set(gate_metric="chrf")
    assert project.repro() == ["gate", "report", "export"]


@pytest.mark.nightly
def test_a_changed_metric_of_the_users_own_scores_both_models_again(project):
    folder = project.folder / "metrics_own"
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (folder / "short_enough.py").write_text(code)
    project.set(eval_metric="metrics_own/short_enough.py", gate_metric="short_enough")
    scored = {"baseline", "evaluate", "gate"}
    assert scored <= set(project.repro()) <= {*scored, "judge", "report", "export"}
    assert "short_enough" in project.metrics("gate")["gain"]
    path = folder / "short_enough.py"
    path.write_text(path.read_text().replace("<=", "<"))
    assert "baseline" in project.repro("gate")
