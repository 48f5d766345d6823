"""Several builds in one project: one waits or says why not, and what a dead one has claimed is let go of."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import times
from tests.environment.copied import Copied
from tests.faults.again import written
from tests.pipeline.conftest import environment

TIMES = times(3, release=10)
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
STAGE = "prepare"


@pytest.fixture
def other_program():
    """A process that has nothing to do with DVC."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def claim(project: Copied, number: int) -> Path:
    """Leave a claim on an output as a killed `dvc repro` does."""
    path = project.folder / ".dvc/tmp/rwlock"
    holder = {"pid": number, "cmd": "/somewhere/bin/dvc repro"}
    path.write_text(json.dumps({"write": {str(written(project.folder, STAGE)[0]): holder}, "read": {}}))
    return path


@pytest.mark.row("R3.5")
@pytest.mark.slow
def test_a_claim_whose_number_another_program_has_by_now_stops_dvc_until_it_is_checked(copied, other_program):
    path = claim(copied, other_program.pid)
    command = ("dvc", "repro", "--single-item", "--force", STAGE)
    stopped = copied.run(*command, ok=False)
    assert stopped.returncode == 255
    assert BUSY[0] in stopped.stderr
    told = copied.run(sys.executable, "-m", "ollamake", "check").stderr
    assert f"was held for process {other_program.pid}, which is another program by now" in told
    assert json.loads(path.read_text()) == {"read": {}, "write": {}}
    copied.run(*command)


@pytest.mark.row("R3.5")
@pytest.mark.slow
@pytest.mark.nightly
def test_a_claim_of_a_dvc_at_work_is_left_alone(copied):
    holding = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding, "dvc", "repro"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        path = claim(copied, other.pid)
        before = path.read_text()
        copied.run(sys.executable, "-m", "ollamake", "check")
        assert path.read_text() == before
        other.kill()


@pytest.mark.row("R3.5")
@pytest.mark.slow
@pytest.mark.nightly
def test_of_two_builds_at_once_one_may_be_told_to_wait_and_neither_spoils_anything(copied):
    expected, refused = copied.digests(STAGE), 0
    for _ in range(TIMES):
        copied.forget(STAGE)
        both = [start(copied), start(copied)]
        said = [process.communicate()[1] for process in both]
        failed = [text for process, text in zip(both, said, strict=True) if process.returncode]
        assert len(failed) < 2, said
        assert all(any(words in text for words in BUSY) and "Traceback" not in text for text in failed), said
        refused += len(failed)
        assert copied.digests(STAGE) == expected
        assert copied.partials() == []
        assert copied.repro("--single-item", STAGE) == []
    assert refused  # they did meet
    print(f"{TIMES} times two builds at once: {refused} told to wait, {TIMES} of {TIMES} the same bytes")


def start(project: Copied) -> subprocess.Popen[str]:
    command = ["dvc", "repro", "--single-item", STAGE]
    return subprocess.Popen(
        command, cwd=project.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
