"""The train stage, killed as it happens in life: by signals, under a real `dvc`, and with `dvc` gone before it."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from benchmarks import kills
from tests.contract.graph import ROOT
from tests.counts import dice, times
from tests.faults import again
from tests.pipeline.conftest import environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill")]  # one worker trains the reference
GOING_ON = re.compile(r"going on from step ([\d,]+)")
STEPS = 36
STOPPED = re.compile(rf"SIG(?:TERM|INT) after step (\d+) of {STEPS}: `dvc repro` goes on from there")
FILES = {
    *("README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json", "optimizer.pt"),
    *("rng_state.pth", "scheduler.pt", "trainer_state.json"),
}
PATIENCE_SECONDS = 120
KILLS = times(4, release=20)
SIGNALS = 10


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `python -m stages.train` and `dvc repro` run, both of the train stage alone."""
    folder = kills.build(tmp_path_factory.mktemp("kill") / "work space", {"num_epochs": 3})
    graph = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    graph["deps"] = [dep for dep in graph["deps"] if dep.startswith(("data/", "models/"))]
    graph["params"] = [param for param in graph["params"] if isinstance(param, str)]
    with (folder / "dvc.yaml").open("w") as stream:
        YAML().dump({"stages": {"train": graph}}, stream)
    with dvc(folder, "init", "--no-scm", "--quiet"):
        pass
    return folder


@pytest.fixture(scope="module")
def reference(workspace: Path) -> dict[str, str]:
    """The sha256 of all that comes out of a run that nothing disturbed."""
    assert "going on" not in kills.finish(workspace)
    assert left(workspace) == ["workspace.lock"]
    found = digests(workspace)
    assert len(found) >= 8
    return found


@pytest.fixture
def fresh(workspace: Path, reference: dict[str, str]) -> Iterator[Path]:
    """The workspace without anything of earlier runs, in DVC's memory neither."""
    for name in (".checkpoints", ".dvc/cache", ".dvc/tmp", "models/tuned", "models/checkpoints", "plots/train"):
        shutil.rmtree(workspace / name, ignore_errors=True)
    for name in ("dvc.lock", "metrics/train.json"):
        (workspace / name).unlink(missing_ok=True)
    params = (workspace / "params.yaml").read_text()
    yield workspace
    (workspace / "params.yaml").write_text(params)


def dvc(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", *command], cwd=folder, env={**environment(), "PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file that the stage has written, without what it measured."""
    return again.digests(folder, *again.written(folder, "train"))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".checkpoints").iterdir())


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def killed_at_step(folder: Path, step: int, number: int, *, readers_first: bool = False) -> tuple[int, float, str]:
    """Start the stage, send it a signal when it has done `step` steps; return exit code, seconds to it, stderr.

    The processes that read its batches get it in the same instant, or `readers_first`, as can happen.
    """
    shutil.rmtree(folder / "plots/train", ignore_errors=True)
    with kills.start(folder) as process:
        wait_for(lambda: kills.steps(folder) >= step)
        if readers_first:
            readers = psutil.Process(process.pid).children(recursive=True)
            assert len(readers) == 2
            for reader in readers:
                reader.send_signal(number)
            wait_for(lambda: all(has_ended(reader) for reader in readers))
        os.killpg(process.pid, number)  # all of them, as a terminal does
        sent = time.monotonic()
        said = process.communicate()[1]
    return process.returncode, time.monotonic() - sent, said


@pytest.mark.row("R2.6")
@pytest.mark.row("R2.7")
def test_signals_end_training_with_a_checkpoint_and_damaged_ones_are_passed_over(fresh, reference):
    params = (fresh / "params.yaml").read_text()
    assert '"dataloader_workers": 0' in params
    (fresh / "params.yaml").write_text(params.replace('"dataloader_workers": 0', '"dataloader_workers": 2'))
    exit_code, seconds, said = killed_at_step(fresh, 4, signal.SIGTERM, readers_first=True)
    (fresh / "params.yaml").write_text(params)
    assert exit_code == 143, said
    assert seconds < 30
    first = int(STOPPED.search(said)[1])
    assert first >= 4
    assert not (fresh / "models/tuned").exists()
    assert not (fresh / "metrics/train.json").exists()

    exit_code, seconds, said = killed_at_step(fresh, 12, signal.SIGINT)
    assert exit_code == 130
    assert seconds < 30
    assert int(GOING_ON.search(said)[1]) == first
    second = int(STOPPED.search(said)[1])

    (checkpoint,) = fresh.glob(f".checkpoints/*/checkpoint-{second}")
    assert {path.name for path in checkpoint.iterdir()} == FILES
    optimizer = checkpoint / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    said = kills.finish(fresh)
    assert f"checkpoint-{second} is left out: optimizer.pt is not as it was written" in said
    assert first <= int(GOING_ON.search(said)[1]) < second
    assert digests(fresh) == reference
    assert left(fresh) == ["workspace.lock"]


@pytest.mark.nightly
@pytest.mark.row("R2.6")
def test_a_training_stopped_by_signal_after_signal_gives_the_same_bytes(fresh, reference):
    drawn, numbers = dice("signals"), {signal.SIGTERM: 143, signal.SIGINT: 130}
    ends = sorted(drawn.sample(range(1, STEPS - 2), SIGNALS))
    for end, number in zip(ends, [*numbers] * (SIGNALS // 2), strict=True):
        exit_code, seconds, said = killed_at_step(fresh, end, number)
        assert exit_code == numbers[number], said
        assert seconds < 30
        assert STOPPED.search(said)
    assert GOING_ON.search(kills.finish(fresh))
    assert digests(fresh) == reference


@pytest.mark.row("R2.10")
def test_another_configuration_starts_over_and_leaves_the_checkpoints_of_the_first(fresh, reference):
    assert killed_at_step(fresh, 4, signal.SIGTERM)[0] == 143
    kept = left(fresh)
    params = (fresh / "params.yaml").read_text()
    assert '"lora_alpha": 32' in params
    (fresh / "params.yaml").write_text(params.replace('"lora_alpha": 32', '"lora_alpha": 16'))
    said = kills.finish(fresh)
    assert "going on" not in said
    assert "checkpoints of trainings with other parameters, data, code or library versions: " in said
    assert digests(fresh) != reference
    assert left(fresh) == kept


@pytest.mark.row("R2.2")
def test_when_dvc_alone_is_killed_its_training_stops_with_a_checkpoint(fresh, reference):
    with dvc(fresh, "repro") as process:
        wait_for(lambda: kills.steps(fresh) >= 3)
        (stage,) = (one for one in psutil.Process(process.pid).children(recursive=True) if "python" in one.name())
        assert "stages.train" in stage.cmdline()
        process.kill()
        process.wait()
        psutil.wait_procs([stage], timeout=120)
        assert not stage.is_running()
        said = process.stderr.read()
    assert "error: dvc has ended, and so does this stage" in said
    stopped = STOPPED.search(said)[1]
    assert GOING_ON.search(repro(fresh))[1] == stopped
    assert digests(fresh) == reference


@pytest.mark.row("R2.2")
def test_a_repro_right_after_dvc_was_terminated_takes_over_from_the_training_that_was_left(fresh, reference):
    with dvc(fresh, "repro") as process:
        wait_for(lambda: kills.steps(fresh) >= 3)
        process.terminate()
        process.wait()
        assert GOING_ON.search(repro(fresh))
    assert digests(fresh) == reference


def wait_for_an_instant(folder: Path, process: subprocess.Popen[str], drawn: random.Random) -> None:
    """Wait for some instant of the training under `process`, however fast the machine is: a step, and a moment more."""
    step = drawn.randrange(STEPS - 1)  # none yet: dvc and Python have hardly started
    wait_for(lambda: kills.steps(folder) >= step)
    time.sleep(drawn.uniform(0, 0.2))
    assert process.poll() is None


@pytest.mark.row("R2.1")
@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.nightly) for turn in range(1, 4))])
def test_all_killed_at_a_random_instant_the_next_repro_gives_the_same_bytes(fresh, reference, turn):
    with dvc(fresh, "repro") as process:
        wait_for_an_instant(fresh, process, dice(f"all {turn}"))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    repro(fresh)
    assert digests(fresh) == reference


@pytest.mark.nightly
@pytest.mark.row("R2.2")
@pytest.mark.parametrize("turn", range(KILLS))
def test_dvc_alone_killed_at_a_random_instant_a_repro_at_once_gives_the_same_bytes(fresh, reference, turn):
    drawn = dice(f"dvc alone {turn}")
    with dvc(fresh, "repro") as process:
        wait_for_an_instant(fresh, process, drawn)
        process.send_signal(drawn.choice([signal.SIGKILL, signal.SIGTERM]))
        process.wait()
        repro(fresh)  # at once: the stage that was left may still be there
        process.communicate(timeout=PATIENCE_SECONDS)  # ends when nobody can write there any more
    assert digests(fresh) == reference


@pytest.mark.nightly
@pytest.mark.row("R2.10")
def test_a_checkpoint_of_another_release_is_left_alone_and_said(fresh, reference, tmp_path):
    for package in ("ollamake", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "ollamake/training/loss.py").open("a") as stream:
        stream.write("# as it was in another release\n")
    with kills.start(fresh, code=tmp_path) as process:
        wait_for(lambda: kills.steps(fresh) >= 4)
        process.terminate()
        assert STOPPED.search(process.communicate()[1])
    kept = left(fresh)
    said = kills.finish(fresh)
    assert "going on" not in said
    assert "checkpoints of trainings with other parameters, data, code or library versions: " in said
    assert digests(fresh) == reference
    assert left(fresh) == kept


def repro(folder: Path) -> str:
    with dvc(folder, "repro") as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    return said
