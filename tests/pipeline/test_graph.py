"""What a person does with the graph, on the real tools."""

import re
import shutil
import time
from pathlib import Path

import pytest

from tests.contract.graph import ROOT, read_yaml, stages

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once


def test_a_first_build_leaves_every_declared_output(built):
    missing = [out for stage in stages().values() for out in stage.outs if not (built.folder / out).exists()]
    assert missing == []


def test_a_first_build_leaves_nothing_for_git_but_the_lock_metrics_and_plots(built):
    committed = built.run("git", "show", "--name-only", "--format=", "HEAD").stdout.split()
    assert "dvc.lock" in committed
    assert [name for name in committed if not name.startswith(("dvc.lock", "metrics/", "plots/"))] == []


def test_a_second_build_runs_nothing_but_the_look_at_the_server(project):
    lock = (project.folder / "dvc.lock").read_bytes()
    assert project.repro() == ["export"]
    assert (project.folder / "dvc.lock").read_bytes() == lock


def documented_reruns() -> dict[str, set[str]]:
    """What docs/reference/params.md says: the stages that a change of each parameter reruns, and those that follow."""
    page = (ROOT / "docs/reference/params.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:.* \| )?([^|]+) \|$", page, flags=re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", reruns)) for name, reruns in rows}
    return {key: first.union(*(listed[stage] for stage in first)) for key, first in listed.items()}


def downstream(direct: set[str]) -> set[str]:
    """The stages named and all that depend on them, by the outputs and dependencies of dvc.yaml."""
    graph, found = stages(), set(direct)
    while more := {name for name in graph if name not in found and any(feeds(graph[up], graph[name]) for up in found)}:
        found |= more
    return found


def feeds(one, other) -> bool:
    """Whether the second stage reads what the first writes."""
    pairs = [(Path(out), Path(dep)) for out in one.outs for dep in other.deps]
    return any(dep.is_relative_to(out) or out.is_relative_to(dep) for out, dep in pairs)


def other(value):
    return value + 1 if isinstance(value, int | float) else f"{value}x"


@pytest.mark.parametrize("key", sorted(read_yaml("params.yaml")))
def test_a_parameter_reruns_exactly_the_stages_that_the_reference_names(project, key):
    if key == "data_source":
        (project.folder / "data/other.jsonl").write_text((project.folder / "data/tiny.jsonl").read_text() + "\n")
        value = "data/other.jsonl"
    else:
        value = other(read_yaml("params.yaml")[key])
    project.set(**{key: value})
    direct = set(project.json("dvc", "status", "--json"))
    if key not in stages()["export"].params:
        direct -= {"export"}  # always changed, so `dvc status` lists it in any case
    assert downstream(direct) == documented_reruns()[key]


def test_a_comment_in_params_yaml_reruns_nothing(project):
    path = project.folder / "params.yaml"
    path.write_text("# another remark\n" + path.read_text())
    assert project.repro() == ["export"]


def test_a_changed_source_file_reruns_its_stages_only(project):
    path = project.folder / "ollamake/tokens/tables.py"
    path.write_text(path.read_text() + "\n# a remark\n")
    assert project.repro() == ["tokenize", "export"]


def test_a_new_version_of_a_library_reruns_the_stages_that_compute_with_it(project):
    path = project.folder / "pins.yaml"
    path.write_text(path.read_text().replace("sacrebleu: ", "sacrebleu: 9."))
    assert set(project.json("dvc", "status", "--json")) == {"baseline", "evaluate", "convert", "export"}


def test_an_experiment_trains_and_is_listed_with_its_parameter_and_scores(project):
    before = project.metrics("evaluate")["loss"]
    output = project.run("dvc", "exp", "run", "-S", "lora_rank=16", "--name", "rank-16").stdout
    first, *others = re.findall(r"Running stage '(\w+)'", output)
    assert first == "train"
    assert set(others) == {"evaluate", "gate", "judge", "convert", "report", "export"}
    shown = project.json("dvc", "exp", "show", "--json", "--num", "1")
    [experiment] = [row for rev in shown for group in rev["experiments"] or [] for row in group["revs"]]
    assert experiment["name"] == "rank-16"
    assert experiment["data"]["params"]["params.yaml"]["data"]["lora_rank"] == 16
    assert experiment["data"]["metrics"]["metrics/evaluate.json"]["data"]["loss"] != before


def test_the_difference_between_revisions_names_the_scores(project):
    project.set(lora_rank=2)
    project.repro()
    changed = project.json("dvc", "metrics", "diff", "--json")
    assert "loss" in changed["metrics/evaluate.json"]
    assert "gain.loss" in changed["metrics/gate.json"]


def test_the_plots_of_two_revisions_show_both_and_load_nothing_from_the_net(project):
    project.set(learning_rate=0.01)
    project.repro("evaluate")
    project.run("dvc", "plots", "diff", "HEAD", "workspace")
    page = (project.folder / "dvc_plots/index.html").read_text()
    assert "workspace" in page
    assert "HEAD" in page
    assert re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page) == []


def test_queued_experiments_run_from_their_own_copies(project):
    kept = [project.folder / name for name in ("params.yaml", "models/tuned/adapter_model.safetensors")]
    before = [path.read_bytes() for path in kept]
    project.run("dvc", "exp", "run", "-S", "lora_rank=8,16", "--queue")
    project.run("dvc", "queue", "start", "--jobs", "1")
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        tasks = project.run("dvc", "queue", "status").stdout
        if not re.search(r"Queued|Running", tasks):
            break
        time.sleep(2)
    else:
        pytest.fail(f"the queue has not finished: {tasks}")
    shown = project.json("dvc", "exp", "show", "--json", "--num", "1")
    rows = [row for rev in shown for group in rev["experiments"] or [] for row in group["revs"]]
    ranks = {row["data"]["params"]["params.yaml"]["data"]["lora_rank"] for row in rows}
    assert {8, 16} <= ranks, tasks
    assert [path.read_bytes() for path in kept] == before


def test_another_clone_pulls_the_model_and_has_nothing_to_do(project, tmp_path):
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    project.run("dvc", "remote", "add", "--local", "--default", "store", str(remote))
    project.run("dvc", "push")
    project.run("git", "clone", "--quiet", str(project.folder), str(clone))
    other_project = type(project)(clone)
    other_project.run("dvc", "remote", "add", "--local", "--default", "store", str(remote))
    other_project.run("dvc", "pull")
    assert other_project.repro() == ["export"]
    ours, theirs = ((folder / "models/gguf").glob("*.gguf") for folder in (project.folder, clone))
    assert [file.read_bytes() for file in ours] == [file.read_bytes() for file in theirs]
    project.run("dvc", "remote", "remove", "--local", "store")


def test_the_base_model_may_be_brought_back_after_a_pull(project):
    shutil.rmtree(project.folder / ".ollamake")
    project.set(lora_rank=3)
    refused = project.run("dvc", "repro", "train", ok=False)
    assert "dvc repro --force --single-item fetch" in refused.stderr
    project.run("dvc", "repro", "--force", "--single-item", "fetch")
    assert project.repro("train") == ["train"]


def test_metrics_are_json_that_dvc_shows(built):
    shown = built.json("dvc", "metrics", "show", "--json")
    files = shown[""]["data"]
    assert {f"metrics/{name}.json" for name in ("prepare", "train", "baseline", "evaluate", "convert")} <= set(files)
