"""What doctor says of git and DVC, each finding provoked in a repository that a real build has gone through."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dvc.utils.serialize import modify_yaml

from ollamake.doctor import links, objects, repository, runs
from ollamake.doctor.finding import SkippedError
from ollamake.doctor.subject import Subject
from tests.released import built_workspace, run, workspace

__all__ = ["built_workspace", "workspace"]
NOBODY = 4_194_305  # above the largest process number that Linux can give
OUT = "data/prepared/train.jsonl"


def cached(path: str = OUT) -> Path:
    """The object in the cache of an output in dvc.lock."""
    md5 = next(out["md5"] for stage in Subject().lock.values() for out in stage.get("outs", []) if out["path"] == path)
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def damage(file: Path) -> None:
    """Append a byte, as a program does that writes through a link; DVC itself does not see it."""
    file.chmod(0o644)
    with file.open("ab") as stream:
        stream.write(b"!")


def read_by_prepare(name: str) -> None:
    with modify_yaml("dvc.yaml") as content:
        content["stages"]["prepare"]["deps"].append(name)


def test_a_repository_in_order_has_nothing_to_mend(workspace: Path) -> None:
    subject = Subject()
    looks = (repository.state, repository.queued, repository.outputs, objects.objects, runs.locks, runs.leftovers)
    assert [look(subject).status for look in looks] == ["fine"] * len(looks)


def test_the_branch_and_the_changed_files_are_told(workspace: Path) -> None:
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# more\n")
    branch = run("git", "branch", "--show-current").strip()
    assert repository.state(Subject()).detail.startswith(f"{branch} at ")
    assert repository.state(Subject()).detail.endswith("1 changed file")


def test_a_folder_outside_of_git_fails_and_the_hint_makes_it_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "dvc.yaml").touch()
    verdict = repository.state(Subject())
    assert (verdict.status, verdict.detail[:25]) == ("failure", "this is no git repository")
    run("git", "init", "--quiet")
    assert repository.state(Subject()).detail.startswith("there is no commit yet")


def test_a_repository_of_another_user_is_told_in_gits_words(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    verdict = repository.state(Subject())
    assert verdict.status == "failure"
    assert "dubious ownership" in verdict.detail
    assert "safe.directory" in verdict.hint


@pytest.mark.parametrize(
    ("mark", "told", "hint"),
    [("index.lock", "locked", "rm .git/index.lock"), ("MERGE_HEAD", "a merge is not finished", "git merge --abort")],
)
def test_what_git_has_left_half_done_is_told(workspace: Path, mark: str, told: str, hint: str) -> None:
    Path(".git", mark).touch()
    verdict = repository.state(Subject())
    assert verdict.status == "warning"
    assert told in verdict.detail
    assert hint in verdict.hint


def test_a_module_that_git_does_not_know_would_be_missing_in_queued_runs(workspace: Path) -> None:
    Path("stages").mkdir()
    Path("stages/mine.py").touch()
    verdict = repository.queued(Subject())
    assert (verdict.status, verdict.hint) == ("warning", "`git add stages` (large data: `dvc add`)")
    run("git", "add", "stages")
    assert repository.queued(Subject()).status == "fine"


def test_data_that_git_ignores_would_be_missing_in_queued_runs(workspace: Path) -> None:
    Path("data/own.jsonl").write_text("{}\n")  # /data/ is ignored
    read_by_prepare("data/own.jsonl")
    verdict = repository.queued(Subject())
    assert verdict.status == "warning"
    assert "data/own.jsonl" in verdict.detail
    Path("data/own.jsonl.dvc").touch()  # what `dvc add` leaves
    assert repository.queued(Subject()).status == "fine"


def test_an_output_in_git_is_what_dvc_refuses(workspace: Path) -> None:
    run("git", "add", "--force", OUT)
    verdict = repository.outputs(Subject())
    assert verdict.status == "failure"
    assert f"git rm -r --cached --quiet {OUT}" in verdict.hint
    run("git", "rm", "-r", "--cached", "--quiet", OUT)
    assert repository.outputs(Subject()).status == "fine"


def test_a_damaged_object_is_found_and_named_with_its_output(workspace: Path) -> None:
    damage(cached())
    verdict = objects.objects(Subject())
    assert verdict.status == "failure"
    assert f"{OUT} (stage prepare)" in verdict.detail
    command = verdict.hint.split("`")[1]
    subprocess.run(["bash", "-c", command], check=True)
    assert not cached().exists()
    assert objects.objects(Subject()).status == "warning"  # missing, and said so


def test_a_damaged_file_of_a_folder_is_found_and_so_is_a_damaged_list_of_one(workspace: Path) -> None:
    listing = cached("models/gguf")
    entry = json.loads(listing.read_text())[0]["md5"]
    damage(listing.parents[1] / entry[:2] / entry[2:])
    verdict = objects.objects(Subject())
    assert verdict.status == "failure"
    assert "models/gguf (stage convert)" in verdict.detail
    damage(listing)
    assert objects.objects(Subject()).detail.startswith("1 of ")  # the list is damaged, so what it lists is not known


def test_large_objects_are_left_out_and_counted_unless_asked_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sorted(file.stat().st_size for file in Path(".dvc/cache/files/md5").glob("??/*"))
    damage(cached())
    monkeypatch.setattr(objects, "QUICK_BYTES", sizes[0])
    verdict = objects.objects(Subject())
    assert verdict.status == "fine"
    assert "`--deep` takes all" in verdict.detail
    assert objects.objects(Subject(deep=True)).status == "failure"


def test_the_other_experiments_objects_are_hashed_only_when_all_are_asked_for(workspace: Path) -> None:
    run("git", "checkout", "--quiet", "two")
    other = cached()
    run("git", "checkout", "--quiet", "-")
    assert other != cached()
    damage(other)
    assert objects.objects(Subject()).status == "fine"
    assert objects.objects(Subject(deep=True)).status == "failure"


def test_without_a_build_there_is_nothing_to_hash(workspace: Path) -> None:
    Path("dvc.lock").unlink()
    with pytest.raises(SkippedError, match="nothing was built yet"):
        objects.objects(Subject())


def test_the_hint_for_a_damaged_object_holds_in_a_folder_with_spaces(workspace: Path) -> None:
    Path(".dvc/cache").rename(".dvc/a cache")
    configure(dir="a cache")
    file = Path(".dvc/a cache", cached().relative_to(".dvc/cache"))
    damage(file)
    subprocess.run(["bash", "-c", objects.objects(Subject()).hint.split("`")[1]], check=True)
    assert not file.exists()


def configure(**cache: object) -> None:
    """Write DVC's settings of the cache, as `dvc config --local` does in a second."""
    lines = [f"    {key} = {value}\n" for key, value in cache.items()]
    Path(".dvc/config.local").write_text("[cache]\n" + "".join(lines))


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system than the workspace's."""
    shared = Path("/dev/shm")  # noqa: S108 - the one other file system that every Linux has
    if not shared.is_dir() or shared.stat().st_dev == Path.cwd().stat().st_dev:
        pytest.skip("there is no other file system here")
    folder = shared / f"ollamake-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_a_cache_on_another_disk_without_links_takes_the_space_twice(workspace: Path, other_disk: Path) -> None:
    configure(dir=other_disk)
    verdict = links.links(Subject())
    assert verdict.status == "warning"
    assert "every output stands on both" in verdict.detail
    configure(dir=other_disk, type="hardlink")
    assert links.links(Subject()).status == "failure"  # DVC would fail at the next checkout


def test_trying_links_leaves_nothing_that_git_would_see(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(".dvc/cache")  # as after `git clone`
    configure(type="hardlink,copy")
    made = []

    def spied(**options: Path) -> TemporaryDirectory[str]:
        made.append(folder := TemporaryDirectory(**options))
        return folder

    monkeypatch.setattr("tempfile.TemporaryDirectory", spied)
    links.links(Subject())
    assert len(made) == 2
    for folder in made:
        run("git", "check-ignore", folder.name)


def test_links_that_root_may_write_through_are_warned_of(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(type="hardlink,copy")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "root may write through them" in links.links(Subject()).detail
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert links.links(Subject()).status == "fine"
    configure(type="copy")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert links.links(Subject()).status == "fine"


def claim(number: int, file: str = "rwlock") -> None:
    """Leave a claim of process `number` in DVC's list of claims."""
    path = Path(".dvc/tmp", file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"write": {OUT: {"pid": number, "cmd": "dvc repro"}}}))


def test_a_claim_of_a_killed_run_is_no_trouble_and_one_of_another_program_is(workspace: Path) -> None:
    claim(NOBODY)
    assert runs.locks(Subject()).detail == "1 left by killed runs, which DVC removes by itself"
    with subprocess.Popen(["sleep", "60"]) as other:
        claim(other.pid)
        verdict = runs.locks(Subject())
        other.kill()
    assert (verdict.status, verdict.hint) == ("failure", "`python -m ollamake check` lets go of it")


def test_a_damaged_list_of_claims_is_told_with_its_remedy(workspace: Path) -> None:
    Path(".dvc/tmp/exps").mkdir(exist_ok=True)
    Path(".dvc/tmp/exps/rwlock").write_text('{"write"')
    verdict = runs.locks(Subject())
    assert (verdict.status, verdict.hint) == ("failure", "`rm .dvc/tmp/exps/rwlock`")


@pytest.fixture
def stage(workspace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks as a stage at work does, and waits to be ended."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "-m", "stages.train"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_run_at_work_is_named_with_its_process(workspace: Path, stage: subprocess.Popen[bytes]) -> None:
    verdict = runs.locks(Subject())
    assert verdict.status == "warning"
    assert f"(process {stage.pid})" in verdict.detail
    assert f"`kill {stage.pid}`" in verdict.hint


def test_a_lock_that_somebody_holds_is_told(workspace: Path) -> None:
    path = Path(".dvc/tmp/lock")
    path.touch()
    code = f"import fcntl, sys; lock = open({str(path)!r}); fcntl.flock(lock, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        verdict = runs.locks(Subject())
        other.kill()
    assert verdict.detail == "another process holds .dvc/tmp/lock"


def test_copies_and_partial_files_of_killed_runs_are_found_and_the_hint_removes_them(workspace: Path) -> None:
    copy = Path(".dvc/tmp/exps/standalone/tmpabc")
    copy.mkdir(parents=True)
    (copy / "weights").write_bytes(bytes(3_000_000))
    Path("models/of mine").mkdir()
    Path("models/of mine", f".gguf.partial-{NOBODY}").mkdir()
    Path("data", f".train.jsonl.partial-{os.getpid()}").touch()  # of a process that lives
    verdict = runs.leftovers(Subject())
    assert verdict.status == "warning"
    assert "of killed runs, 3 MB; `dvc exp show` lists" in verdict.detail
    assert "if no other machine" in verdict.hint
    subprocess.run(["bash", "-c", verdict.hint.split("`")[1]], check=True)
    assert runs.leftovers(Subject()).status == "fine"
    assert Path("data", f".train.jsonl.partial-{os.getpid()}").exists()


@pytest.mark.parametrize("program", [("-m", "dvc", "exp", "run"), ("/site/dvc/__main__.py", "exp", "queue-worker")])
def test_the_copy_of_an_experiment_at_work_is_left_alone(workspace: Path, program: tuple[str, ...]) -> None:
    Path(".dvc/tmp/exps/tmpabc").mkdir(parents=True)
    code = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, *program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert runs.leftovers(Subject()).status == "fine"
        process.kill()
    assert runs.leftovers(Subject()).status == "warning"
