"""Reads and writes that fall short, are interrupted or fail: another try or a clean failure, and never wrong bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import RELEASE
from tests.environment.copied import STAGES, Copied
from tests.faults.disk import UnavailableError
from tests.faults.files import FileFaults

# The numbers of the calls that fail, in every process of a stage.
POINTS = (1, 2, 3, 5, 8, 20, 50, 100, 300) if RELEASE else (1, 5, 50)
# They link their inputs, or map them into memory.
UNREAD = ("collect", "distill", "judge")


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> FileFaults:
    try:
        return FileFaults.compiled(tmp_path_factory.mktemp("faults"))
    except UnavailableError as reason:
        pytest.skip(str(reason))


def data(project: Copied) -> list[Path]:
    """The folders of what stages read and write; their code, and Python's own files, are none of it."""
    names = ("data", "models", "metrics", "plots", ".ollamake", ".checkpoints")
    return [project.folder / name for name in names]


def run(project: Copied, stage: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    project.forget(stage)
    return project.run(sys.executable, "-m", f"stages.{stage}", ok=False, **env)


@pytest.mark.parametrize(
    ("kind", "call"), [("read_error", "os.read(file, 1)"), ("write_error", "os.write(file, b'1')")]
)
def test_the_errors_happen_at_their_number(faults, tmp_path, kind, call):
    (tmp_path / "there").write_bytes(b"1234")
    code = f"import os; file = os.open({str(tmp_path / 'there')!r}, os.O_RDWR); {call}; print('once'); {call}"
    env = {**os.environ, **faults.environment(kind, under=[tmp_path], at=2)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "once\n")
    assert "Input/output error" in done.stderr


@pytest.mark.parametrize("kind", ["short", "interrupted"])
def test_the_faults_happen_and_python_reads_and_writes_on(faults, tmp_path, kind):
    env = {**os.environ, **faults.environment(kind, under=[tmp_path])}
    path = str(tmp_path / "raw")
    raw = f"import os; print(os.write(os.open({path!r}, os.O_CREAT | os.O_WRONLY), b'1234'))"
    done = subprocess.run([sys.executable, "-c", raw], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("2" if kind == "short" else "4")  # Python tries again after EINTR
    whole = f"open({str(tmp_path / 'whole')!r}, 'wb').write(b'x' * 100_000)"
    subprocess.run([sys.executable, "-c", whole], env=env, check=True)
    assert (tmp_path / "whole").read_bytes() == b"x" * 100_000


@pytest.mark.row("R3.9")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["short", "interrupted"])
@pytest.mark.parametrize("stage", STAGES)
def test_short_and_interrupted_calls_change_no_byte(copied, faults, stage, kind):
    expected = copied.digests(stage)
    done = run(copied, stage, faults.environment(kind, under=data(copied)))
    assert done.returncode == 0, done.stderr
    assert copied.digests(stage) == expected


@pytest.mark.row("R3.9")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["read_error", "write_error"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_of_the_disk_ends_a_stage_cleanly_wherever_it_comes(copied, faults, stage, kind):
    expected, happened, struck = copied.digests(stage), 0, 0
    for point in POINTS:
        failed = run(copied, stage, faults.environment(kind, under=data(copied), at=point))
        happened += bool(faults.count())
        if failed.returncode == 0:  # fewer calls than that, or one that was made again
            assert copied.digests(stage) == expected
            continue
        struck += 1
        assert faults.count(), failed.stderr
        copied.require_clean(failed, stage, expected)
    done = run(copied, stage, {})
    assert done.returncode == 0, done.stderr
    assert copied.digests(stage) == expected
    assert happened or (kind == "read_error" and stage in UNREAD)
    print(f"{stage}: {happened} {kind}s happened, {struck} ended it")
