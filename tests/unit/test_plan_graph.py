"""What would run and why, on a real graph of DVC's."""

import shutil

import pytest
from dvc.repo import Repo

from ollamake.errors import ParamsError
from ollamake.plan.graph import foresee, listed
from ollamake.plan.proposed import open_repository, propose
from ollamake.plan.reasons import shown
from tests.planned import contents, git, lay_out, with_line

# DVC's own use of pygtrie; no issue is open (DVC 3.67.1, dvc/repo/trie.py).
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("planned") / "repository")


@pytest.fixture
def workspace(repository, tmp_path, monkeypatch):
    folder = tmp_path / "workspace"
    shutil.copytree(repository, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def planned(target=None, overrides=()):
    proposal, _ = propose(overrides)
    return {step.stage: step for step in foresee(open_repository(proposal), target)}


def fates(steps):
    return {stage: step.fate for stage, step in steps.items()}


REBUILT = {"prepare": "unchanged", "baseline": "unchanged", "train": "runs", "evaluate": "follows", "export": "runs"}


def test_a_finished_build_has_nothing_to_do_but_look_at_the_server(workspace):
    steps = planned()
    assert fates(steps) == {**dict.fromkeys(REBUILT, "unchanged"), "export": "runs"}
    assert steps["export"].reasons == ("it looks at the server every time",)


def test_another_value_is_named_with_the_old_one_and_what_follows_from_it(workspace):
    steps = planned(overrides=["lora_rank=32"])
    assert fates(steps) == REBUILT
    assert steps["train"].reasons == ("lora_rank 16 -> 32",)
    assert steps["evaluate"].reasons == ("because train will run",)
    assert steps["export"].reasons == ("because evaluate will run", "it looks at the server every time")


def test_an_edited_parameter_counts_as_an_override_does(workspace):
    with_line(workspace / "params.yaml", "lora_rank", 32)
    assert planned()["train"].reasons == ("lora_rank 16 -> 32",)


def test_looking_ahead_changes_nothing_in_the_workspace(workspace):
    before = contents(workspace)
    planned(overrides=["lora_rank=32", "data_source=other.txt"])
    assert contents(workspace) == before


def test_what_the_graph_takes_from_a_parameter_follows_its_new_value(workspace):
    (workspace / "other.txt").write_text("other rows\n")
    assert "other.txt is new to it" in planned(overrides=["data_source=other.txt"])["prepare"].reasons


def test_an_input_that_nobody_makes_and_that_is_not_there_stops_the_build(workspace):
    step = planned(overrides=["data_source=absent.txt"])["prepare"]
    assert step.missing == ("absent.txt",)
    assert "absent.txt is missing" in step.reasons


def test_a_tracked_file_that_is_not_there_stops_the_build(workspace):
    (workspace / "tracked.txt").write_text("rows\n")
    with Repo() as now:
        now.add("tracked.txt")
    (workspace / "tracked.txt").unlink()
    steps = planned(overrides=["data_source=tracked.txt"])
    assert steps["tracked.txt.dvc"].missing == ("tracked.txt",)
    assert steps["tracked.txt.dvc"].reasons == ("its output tracked.txt is missing",)


def test_a_version_says_in_which_file_it_stands(workspace):
    (workspace / "pins.yaml").write_text("torch: 2.14.0\n")
    assert planned()["train"].reasons == ("torch in pins.yaml 2.13.0 -> 2.14.0",)


def test_a_changed_file_is_named(workspace):
    (workspace / "raw.txt").write_text("more rows\n")
    assert planned()["prepare"].reasons == ("raw.txt changed",)


def test_a_changed_file_in_a_folder_is_named_not_the_folder(workspace):
    (workspace / "code/rows.py").write_text("# other rows\n")
    assert planned()["prepare"].reasons == ("code/rows.py changed",)


def test_of_many_changed_files_in_a_folder_the_first_are_named(workspace):
    for file in (workspace / "code").iterdir():
        file.write_text("# other\n")
    assert planned()["prepare"].reasons == ("code: near.py, order.py, rows.py and 2 more changed",)


def test_a_file_that_git_does_not_know_is_named_too(workspace):
    (workspace / "code/added.py").write_text("# new\n")
    assert planned()["prepare"].reasons == ("code/added.py changed",)


def test_without_git_the_folder_is_named(workspace):
    shutil.rmtree(workspace / ".git")
    (workspace / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    (workspace / "code/rows.py").write_text("# other rows\n")
    assert planned()["prepare"].reasons == ("code changed",)


def test_changes_committed_since_the_build_are_named(workspace):
    (workspace / "code/rows.py").write_text("# other rows\n")
    git(workspace, "commit", "--quiet", "--all", "-m", "later")
    assert planned()["prepare"].reasons == ("code/rows.py changed",)


def test_a_changed_command_is_told(workspace):
    graph = workspace / "dvc.yaml"
    graph.write_text(graph.read_text().replace("cp data.txt", "cp -p data.txt"))
    steps = planned()
    assert steps["baseline"].reasons == ("its command changed",)
    assert steps["evaluate"].reasons == ("because baseline will run",)


def test_an_output_that_is_gone_comes_back_from_the_cache(workspace):
    (workspace / "model.txt").unlink()
    steps = planned()
    assert (steps["train"].fate, steps["train"].reasons) == ("restored", ("its output model.txt is missing",))
    assert steps["evaluate"].fate == "unchanged"


def test_an_output_that_was_edited_is_told(workspace):
    (workspace / "model.txt").unlink()
    (workspace / "model.txt").write_text("by hand\n")
    assert planned()["train"].reasons == ("its output model.txt changed",)


def test_going_back_to_old_values_runs_nothing_again(workspace):
    with_line(workspace / "params.yaml", "lora_rank", 32)
    proposal, _ = propose([])
    with open_repository(proposal) as now:
        now.reproduce("evaluate")
    steps = planned("evaluate", ["lora_rank=16"])
    assert fates(steps) == {**dict.fromkeys(steps, "unchanged"), "train": "restored", "evaluate": "restored"}
    assert steps["evaluate"].reasons == ("model.txt changed",)


def test_what_has_never_run_says_so(workspace):
    (workspace / "dvc.lock").unlink()
    shutil.rmtree(workspace / ".dvc/cache")
    steps = planned()
    assert steps["prepare"].reasons == ("it has not run yet",)
    assert steps["evaluate"].reasons == ("it has not run yet", "because train and baseline will run")
    assert {step.fate for step in steps.values()} == {"runs"}


def test_a_target_leaves_out_what_it_does_not_need(workspace):
    assert set(planned("train")) == {"prepare", "train"}


@pytest.mark.parametrize(
    ("target", "overrides", "said"),
    [
        ("tarin", [], "tarin is no stage"),
        (None, ["lora_rnk=8"], "-S lora_rnk=8: Could not override 'lora_rnk'"),
        (None, ["lora_rank=sixteen"], "lora_rank: input should be a valid integer"),
        (None, ["lora_rank"], "-S lora_rank"),
    ],
)
def test_what_nobody_can_mean_is_refused(workspace, target, overrides, said):
    with pytest.raises(ParamsError) as refused:
        planned(target, overrides)
    assert said in str(refused.value)
    assert refused.value.hint


def test_a_damaged_parameter_file_is_named_by_its_own_path(workspace):
    (workspace / "params.yaml").write_text("lora_rank: [\n")
    with pytest.raises(ParamsError) as refused:
        planned(overrides=["lora_rank=8"])
    assert refused.value.where.startswith("params.yaml")


def test_a_graph_that_dvc_cannot_read_is_refused(workspace):
    (workspace / "dvc.yaml").write_text("stages: {prepare: {command: none}}\n")
    with pytest.raises(ParamsError, match="DVC cannot read the graph"):
        planned()


def test_names_and_values_read_as_a_person_writes_them():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [shown(value) for value in (True, 0.001, "auto")] == ["true", "0.001", "auto"]
    assert shown("x" * 50) == "x" * 40 + "…"
