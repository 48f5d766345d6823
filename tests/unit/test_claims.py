import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollamake import claims

LIST = Path(".dvc/tmp/rwlock")
pytestmark = pytest.mark.row("R3.5")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LIST.parent.mkdir(parents=True)


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def dvc() -> Iterator[int]:
    """A process whose command line is that of `dvc repro`, by another path than DVC would note."""
    waiting = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", waiting, "repro", "--force"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


def held(number: int) -> dict[str, object]:
    return {"pid": number, "cmd": "/bin/dvc repro --force"}


def test_a_claim_whose_number_another_program_has_is_removed_and_one_of_a_dvc_at_work_stays(sleeper, dvc):
    LIST.write_text(
        json.dumps({"write": {"a": held(sleeper), "b": held(dvc)}, "read": {"c": [held(sleeper), held(dvc)]}})
    )
    (said,) = claims.clear()
    assert f"for process {sleeper}, which is another program by now" in said
    assert json.loads(LIST.read_text()) == {"write": {"b": held(dvc)}, "read": {"c": [held(dvc)]}}
    assert claims.clear() == []


def test_claims_of_the_gone_are_left_to_dvc_and_a_damaged_list_to_its_repair():
    with subprocess.Popen(["true"]) as gone:
        pass
    for content in (json.dumps({"write": {"a": held(gone.pid)}}), '{"write"', ""):
        LIST.write_text(content)
        assert claims.clear() == []
        assert LIST.read_text() == content
    LIST.unlink()
    assert claims.clear() == []
