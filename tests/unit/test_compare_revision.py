"""What a person may call a revision, and what is said of a name that is none."""

import subprocess
from pathlib import Path

import pytest

from ollamake.compare.outputs import NotAtHandError, Outputs, cache_of
from ollamake.compare.revision import RevisionError, resolve
from tests.compared import compared_project, project
from tests.released import run

__all__ = ["compared_project", "project"]


@pytest.fixture
def here(compared_project, monkeypatch):
    """The shared project as the current folder, for tests that only read."""
    monkeypatch.chdir(compared_project)
    return compared_project


def head():
    return run("git", "rev-parse", "HEAD").strip()


def named(*names):
    return [(revision.name, revision.commit) for revision in resolve(names)]


def test_without_names_head_and_the_workspace_are_meant(here):
    assert named() == [("HEAD", head()), ("workspace", "")]


def test_one_name_is_set_against_the_workspace(here):
    assert named("old") == [("old", run("git", "rev-parse", "old").strip()), ("workspace", "")]


def test_of_several_names_the_first_is_the_reference(here):
    assert [name for name, _ in named("bolder", "old", "HEAD")] == ["bolder", "old", "HEAD"]


def test_an_experiment_is_known_by_its_name(here):
    _, bolder = resolve(["HEAD", "bolder"])
    assert bolder.is_experiment
    assert bolder.read("params.yaml") != resolve(["HEAD", "old"])[0].read("params.yaml")


def test_a_release_is_known_by_its_version(here):
    assert named("old", "1.0.0")[1] == ("1.0.0", head())


def test_a_whole_hash_is_shown_short(here):
    assert named(head(), "old")[0] == (head()[:7], head())


@pytest.mark.parametrize("names", [["HEAD", "1.0.0"], ["workspace"], ["old", "HEAD", "old"]])
def test_one_thing_twice_is_refused(here, names):
    with pytest.raises(RevisionError, match="are the same: there is nothing to compare"):
        resolve(names)


def test_an_unknown_name_is_told_with_those_like_it(here):
    with pytest.raises(RevisionError) as failure:
        resolve(["boldr"])
    assert failure.value.problem == "boldr is nothing that git or DVC knows"
    assert failure.value.hint.startswith("did you mean bolder")


def test_a_name_with_a_dash_is_no_option_of_git(here):
    with pytest.raises(RevisionError, match="is nothing that git or DVC knows"):
        resolve(["--all"])


def test_of_two_experiments_of_one_name_that_of_the_commit_at_hand_is_meant(project):
    other, mine = run("git", "rev-parse", "old").strip(), run("git", "rev-parse", "HEAD~1").strip()
    run("git", "update-ref", f"refs/exps/{other[:2]}/{other[2:]}/bolder", mine)
    assert resolve(["old", "bolder"])[1].commit != mine
    run("git", "commit", "--quiet", "--allow-empty", "-m", "later")
    with pytest.raises(RevisionError, match="bolder is the name of 2 experiments"):
        resolve(["bolder"])


def test_without_a_commit_the_way_to_the_first_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(RevisionError) as failure:
        resolve([])
    assert "git commit" in failure.value.hint


def test_a_folder_without_dvc_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RevisionError, match="this is no DVC project"):
        cache_of(Path.cwd())


def test_a_project_below_the_folder_of_git_is_read_where_it_lies(tmp_path, monkeypatch):
    inside = tmp_path / "deep/project"
    inside.mkdir(parents=True)
    (inside / "params.yaml").write_text("a: 1\n")
    monkeypatch.chdir(inside)
    for command in (["init"], ["add", "."], ["-c", "user.name=T", "-c", "user.email=t@e.org", "commit", "-m", "one"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    assert resolve([])[0].read("params.yaml") == b"a: 1\n"


def test_an_output_comes_from_the_cache_by_its_digest(here):
    lock = {"stages": {"s": {"outs": [{"path": "models/evaluated", "md5": "0" * 32 + ".dir"}]}}}
    outputs = Outputs(resolve([])[0], lock, cache_of(here))
    with pytest.raises(NotAtHandError, match=r"is not in DVC's cache: `dvc fetch --all-commits models/evaluated`"):
        outputs.path("models/evaluated/items.jsonl")
    with pytest.raises(NotAtHandError, match="HEAD made no models/tuned: it is not in its dvc.lock"):
        outputs.path("models/tuned")
