"""A `dvc` that is killed in the moment in which its dvc.lock is empty: the next build goes on without a human step."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import dump_yaml, modify_yaml
from ruamel.yaml import YAML

from ollamake import locks
from ollamake.doctor import records
from ollamake.doctor.finding import SkippedError
from ollamake.doctor.subject import Subject
from ollamake.errors import OllamakeError
from ollamake.locks import LOCK
from tests.conftest import REPOSITORY
from tests.counts import times
from tests.released import dvc, run

# With all of params.yaml in it, dvc.lock is long enough for DVC to need a moment to write it.
GRAPH = """
stages:
  first:
    cmd: echo first >> ran.log && cp params.yaml first.txt
    params: [params.yaml: ]
    outs: [first.txt]
  second:
    cmd: echo second >> ran.log && cp first.txt second.txt
    params: [params.yaml: ]
    deps: [first.txt]
    outs: [second.txt]
  third:
    cmd: echo third >> ran.log && cp second.txt third.txt
    params: [params.yaml: ]
    deps: [second.txt]
    outs: [third.txt]
"""
DVC = (sys.executable, "-m", "dvc")
KILLS = times(4, release=20)
PATIENCE_SECONDS = 300
SEEDS = count(1000)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of three stages that note when they run; nothing of it was built yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for name in ("params.yaml", "pins.yaml"):
        shutil.copyfile(REPOSITORY / name, name)
    rows = [{"instruction": f"wish {number}", "output": "ls"} for number in range(9)]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    change(data_source="rows.jsonl")
    Path("dvc.yaml").write_text(GRAPH)
    Path(".gitignore").write_text("*.txt\nran.log\n")
    run("git", "init", "--quiet")
    for key, value in {"user.name": "T", "user.email": "t@example.org"}.items():
        run("git", "config", key, value)
    dvc("init", "--quiet")
    commit()
    return tmp_path


def change(**parameters: object) -> None:
    with modify_yaml("params.yaml") as content:
        content.update(parameters)


def commit() -> None:
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "-m", "so far")


def ran() -> list[str]:
    return Path("ran.log").read_text().split() if Path("ran.log").exists() else []


def kill_in_the_window() -> int:
    """Have every stage run, kill dvc while its lock is empty, and return how often stages had run before.

    The window is a matter of milliseconds: where it was missed, all begins again.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        change(train_seed=next(SEEDS))  # which no run knows yet
        before = len(ran())
        with subprocess.Popen([*DVC, "repro"], start_new_session=True, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if LOCK.exists() and LOCK.stat().st_size == 0:
                    os.killpg(process.pid, signal.SIGKILL)
                    break
        if locks.damage(LOCK.read_text()):
            return before
    raise AssertionError("the window was never met")


def build() -> str:
    """Do what `make build` does; return what its check says on stderr."""
    refused = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert refused.returncode == 255  # without the repair
    checked = subprocess.run([sys.executable, "-m", "ollamake", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    dvc("repro")
    return checked.stderr


def killed_and_built() -> str:
    before = kill_in_the_window()
    assert records.lock(Subject()).status == "failure"
    said = build()
    assert ran()[before:] == ["first", "second", "third"]  # each once, those before the kill not again
    assert "up to date" in dvc("status")
    assert Path("third.txt").read_bytes() == Path("params.yaml").read_bytes()
    assert records.lock(Subject()).status == "fine"
    return said


@pytest.mark.row("R2.3")
def test_a_lock_emptied_by_a_kill_is_mended_and_nothing_runs_again(workspace: Path) -> None:
    assert "it is removed, and `dvc repro` writes it anew" in killed_and_built()  # it was never committed
    commit()
    assert "that of the last commit is back" in killed_and_built()


@pytest.mark.nightly
@pytest.mark.row("R2.3")
def test_a_lock_emptied_by_any_of_many_kills_is_mended_and_nothing_runs_again(workspace: Path) -> None:
    for turn in range(KILLS):
        assert killed_and_built().startswith("dvc.lock ")
        if turn % 2:
            commit()


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of a whole dvc.lock, committed in the current folder."""
    monkeypatch.chdir(tmp_path)
    run("git", "init", "--quiet")
    outs = [{"path": "out", "hash": "md5", "md5": "0" * 32, "size": 1234}]
    dump_yaml(LOCK, {"schema": "2.0", "stages": {name: {"cmd": name, "outs": outs} for name in ("one", "two")}})
    run("git", "add", "dvc.lock")
    run("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "lock")
    return LOCK.read_text()


@pytest.mark.row("R2.3")
def test_wherever_a_lock_was_cut_dvc_can_read_what_the_repair_leaves(lock: str) -> None:
    assert locks.repair() == []
    mended = 0
    for end in range(len(lock)):
        LOCK.write_text(lock[:end])
        mended += bool(said := locks.repair())
        assert not said or LOCK.read_text() == lock
        assert "schema" in COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(LOCK.read_text()))
    assert mended > 0.9 * len(lock)  # the others end with a line, and are what DVC takes


@pytest.mark.parametrize("content", ["\0" * 900, "[]\n", "stages: {}\n", "schema: '2.0'\nstages: [\n", "a: b: c\n"])
def test_a_lock_that_dvc_cannot_read_is_replaced(lock: str, content: str) -> None:
    LOCK.write_text(content)
    with pytest.raises(SkippedError, match=r"whole first|nothing") if content != "stages: {}\n" else nullcontext():
        _ = Subject().lock
    (said,) = locks.repair()
    assert said.endswith("that of the last commit is back, what came after is in DVC's cache")
    assert LOCK.read_text() == lock


def test_without_a_whole_lock_in_git_the_broken_one_is_removed(lock: str) -> None:
    LOCK.write_text(lock[:30])
    run("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-am", "broken")
    assert "it is removed" in locks.repair()[0]
    assert not LOCK.exists()
    assert locks.repair() == []
    shutil.rmtree(".git")
    LOCK.touch()
    assert "it is removed" in locks.repair()[0]


def test_a_conflict_of_gits_is_left_to_a_person(lock: str) -> None:
    LOCK.write_text(conflict := f"<<<<<<< HEAD\n{lock}=======\n{lock}>>>>>>> other\n")
    with pytest.raises(OllamakeError, match="conflict"):
        locks.repair()
    assert LOCK.read_text() == conflict


def test_while_a_dvc_is_at_work_nothing_is_touched(lock: str) -> None:
    LOCK.touch()
    LOCK.write_text("")
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "-m", "dvc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        assert locks.repair() == []
        other.kill()
    assert locks.repair()


@pytest.mark.row("R2.3")
def test_a_list_of_claims_emptied_by_a_kill_is_removed(workspace: Path) -> None:
    claims = Path(".dvc/tmp/rwlock")
    claims.parent.mkdir(exist_ok=True)
    claims.touch()
    assert "RWLock" in subprocess.run([*DVC, "repro"], capture_output=True, text=True).stderr
    assert build() == ".dvc/tmp/rwlock cannot be read, as after a kill; it is removed, and DVC begins another\n"
    assert ran() == ["first", "second", "third"]
