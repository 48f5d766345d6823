"""What a person does with the graph, on the real tools."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.contract.graph import ROOT, downstream, inside, read_yaml, readers_of, stages
from tests.laws.outputs import outputs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once


def test_a_first_build_leaves_every_declared_output(built):
    missing = [out for stage in stages().values() for out in stage.outs if not (built.folder / out).exists()]
    assert missing == []


def test_a_first_build_leaves_nothing_for_git_but_the_lock_metrics_and_plots(built):
    committed = built.run("git", "show", "--name-only", "--format=", "HEAD").stdout.split()
    assert "dvc.lock" in committed
    assert [name for name in committed if not name.startswith(("dvc.lock", "metrics/", "plots/"))] == []


@pytest.mark.row("R1.4")
def test_a_second_build_runs_nothing_but_the_look_at_the_server_and_changes_no_byte(project):
    lock, before = (project.folder / "dvc.lock").read_bytes(), written(project.folder)
    assert project.repro() == ["export"]
    # DVC writes dvc.lock again, with the same bytes, after every stage that runs.
    assert [path for path, state in written(project.folder).items() if before.get(path) != state] == ["dvc.lock"]
    assert (project.folder / "dvc.lock").read_bytes() == lock


@pytest.mark.row("R1.4")
def test_a_second_build_of_all_that_stands_before_the_server_writes_nothing_at_all(project):
    before = written(project.folder)
    assert project.repro("report") == []
    assert written(project.folder) == before


def written(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Time, size and inode of every file of the project and of DVC's cache, but for DVC's locks."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    kept = {
        place: path.stat() for place, path in files.items() if not re.match(r"\.git/|\.dvc/tmp/|.*__pycache__/", place)
    }
    assert len(kept) > 500
    return {place: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for place, stat in kept.items()}


def documented_reruns() -> dict[str, set[str]]:
    """What docs/reference/params.md says: the stages that a change of each parameter reruns, and those that follow."""
    page = (ROOT / "docs/reference/params.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:.* \| )?([^|]+) \|$", page, flags=re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", reruns)) for name, reruns in rows}
    return {key: first.union(*(listed[stage] for stage in first)) for key, first in listed.items()}


def changed(repository: Repo, *, params: bool) -> set[str]:
    """The stages that DVC says have other parameters than in dvc.lock; without `params`, other files."""
    inputs = [(stage.name, dep) for stage in repository.index.stages for dep in stage.deps]
    assert len(inputs) > 200
    return {name for name, dep in inputs if hasattr(dep, "params") == params and dep.status()}


@pytest.mark.row("R1.2")
def test_a_parameter_reruns_exactly_the_stages_that_list_it_and_those_that_follow_as_the_reference_says(project):
    keys, repository = read_yaml("params.yaml"), Repo(project.folder)
    assert len(keys) > 90
    for key in sorted(keys.keys() - {"data_source"}):
        with edited(project.folder / "params.yaml"):
            change(project.folder / "params.yaml", rf"^{key}: .*$", f"{key}: {json.dumps(another(keys[key]))}")
            direct = changed(repository, params=True)
        assert direct == {name for name, stage in stages().items() if key in stage.params}, key
        assert downstream(direct) == documented_reruns()[key], key
    assert changed(repository, params=True) == set()


@pytest.mark.row("R1.2")
def test_another_data_source_reruns_the_stages_that_read_it_and_those_that_follow(project):
    (project.folder / "data/other.jsonl").write_text((project.folder / "data/tiny.jsonl").read_text() + "\n")
    project.set(data_source="data/other.jsonl")
    direct = set(project.json("dvc", "status", "--json")) - {"export"}  # always changed, so listed in any case
    assert direct == {"collect", "prepare", "report"}
    assert downstream(direct) == documented_reruns()["data_source"]


@pytest.mark.row("R1.2")
def test_the_version_of_a_package_reruns_exactly_the_stages_that_compute_with_it(project):
    path, repository = project.folder / "pins.yaml", Repo(project.folder)
    versions = read_yaml("pins.yaml")
    assert len(versions) > 20
    for package, version in versions.items():
        with edited(path):
            change(path, rf"^{package}: .*$", f"{package}: 9.{version}")
            direct = changed(repository, params=True)
        assert direct == {name for name, stage in stages().items() if package in stage.pins}, package


@pytest.mark.row("R1.2")
def test_a_file_reruns_exactly_the_stages_that_list_it(project):
    """Of every file that some stage reads: code, data, and what the stages hand on to each other."""
    repository = Repo(project.folder)
    files = files_read(project.folder)
    assert len(files) > 150
    inputs = [
        (stage.name, dep) for stage in repository.index.stages for dep in stage.deps if not hasattr(dep, "params")
    ]
    for file in files:
        with edited(project.folder / file):
            (project.folder / file).write_bytes((project.folder / file).read_bytes() + b"\n")
            # A file has no part in what DVC makes of other paths.
            found = {name for name, dep in inputs if inside(file, dep.def_path) and dep.status()}
        assert found == readers_of(file, source="data/tiny.jsonl"), file
    assert changed(repository, params=False) == set()


def files_read(folder: Path) -> list[str]:
    """Every file that a stage of the project lists, or that lies in a folder that one lists."""
    listed = {dep.replace("${data_source}", "data/tiny.jsonl") for stage in stages().values() for dep in stage.deps}
    paths = {path for dep in listed for path in (folder / dep, *(folder / dep).rglob("*"))}
    files = {str(path.relative_to(folder)) for path in paths if path.is_file() and "__pycache__" not in path.parts}
    return sorted(files - {"models/templates/README.md"})  # for people: .dvcignore


@contextmanager
def edited(path: Path) -> Iterator[None]:
    """Put the file back as it was, its time too, by which DVC knows it."""
    before, copy = path.stat(), path.read_bytes()
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(copy)
    yield
    path.write_bytes(copy)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change(path: Path, pattern: str, text: str) -> None:
    """Write `text` for the one line that is like the pattern."""
    content, found = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
    assert found == 1, pattern
    path.write_text(content)


def another(value):
    return value + 1 if isinstance(value, int | float) else f"{value}x"


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


@pytest.mark.row("R1.5")
def test_two_revisions_differ_in_scores_and_plots_offline_and_the_way_back_runs_nothing(project):
    before = outputs(project.folder)
    project.set(lora_rank=2)
    assert project.repro()[0] == "train"
    changed = project.json("dvc", "metrics", "diff", "--json")
    assert "loss" in changed["metrics/evaluate.json"]
    assert "gain.loss" in changed["metrics/gate.json"]
    project.run("dvc", "plots", "diff", "HEAD", "workspace")
    page = (project.folder / "dvc_plots/index.html").read_text()
    assert "workspace" in page
    assert "HEAD" in page
    assert re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page) == []
    project.set(lora_rank=4)
    assert project.repro() == ["export"]
    assert outputs(project.folder) == before


@pytest.mark.nightly  # a sweep and `make design` run experiments in copies by default
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
