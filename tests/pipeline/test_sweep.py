"""Sweeps with the real git, DVC and Optuna over a graph whose stages take milliseconds, killed and edited meanwhile."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from ollamake.sweep.snapshot import take
from tests.sweeping import PATIENCE_SECONDS, Repository, build, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository with its graph built. Do not change it: it serves the whole module."""
    folder = tmp_path_factory.mktemp("sweep")
    return build(folder / "repository", folder / "control")


@pytest.fixture
def repository(built: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A copy of it of the test's own; nothing that a test leaves running in it stays."""
    yield built.copy(tmp_path)
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(tmp_path):
                process.kill()
        except (psutil.Error, OSError):
            continue


def states(trials: list[FrozenTrial]) -> list[str]:
    return [trial.state.name.lower() for trial in trials]


def by_rank(trials: list[FrozenTrial], state: TrialState = TrialState.COMPLETE) -> dict[int, FrozenTrial]:
    return {trial.params["lora_rank"]: trial for trial in trials if trial.state == state}


def test_a_sweep_runs_the_code_it_began_with_and_every_trial_is_an_experiment(repository: Repository) -> None:
    repository.write_sweep(space={"lora_rank": {"choices": [4, 8, 16]}}, sampler="random", trials=4)
    (repository.path / "work.py").write_text(
        (repository.path / "work.py").read_text().replace("as committed", "uncommitted")
    )
    (repository.path / "new.py").write_text("new = True\n")
    (repository.control / "hang-8").touch()
    (repository.control / "hang-16").touch()

    driver = repository.start("run")
    wait(lambda: any("hangs" in line for line in repository.ran), "a training")
    edited = (repository.path / "work.py").read_text().replace("uncommitted", "edited meanwhile")
    (repository.path / "work.py").write_text(edited)
    (repository.path / "params.yaml").write_text(
        (repository.path / "params.yaml").read_text().replace("max_steps: 4", "max_steps: 2")
    )
    before = repository.do("git", "status", "--porcelain")
    (repository.control / "hang-8").unlink()
    (repository.control / "hang-16").unlink()

    assert driver.wait(PATIENCE_SECONDS) == 0, (repository.control / "said").read_text()
    trials = repository.trials()
    assert states(trials) == ["complete"] * 4
    assert trials[0].params == {"lora_rank": 4}, "the first one is the default"
    assert repository.do("git", "status", "--porcelain") == before
    assert (repository.path / "work.py").read_text() == edited
    assert repository.leftovers() == []
    different = {trial.params["lora_rank"]: trial for trial in reversed(trials)}
    assert sum("same_as" in trial.user_attrs for trial in trials) == 4 - len(different) > 0
    trained = [line for line in repository.ran if line.startswith("train")]
    assert len(trained) == len(different) - 1, "what the commit has, and what another trial had, is not trained again"
    assert all("uncommitted" in line for line in trained)
    assert sum(line == "prepare" for line in repository.ran) <= 1, (
        "work.py changed, so it runs once, and not in each trial"
    )
    assert "convert" not in repository.ran
    shown = repository.do("dvc", "exp", "show", "--csv")
    for trial in different.values():
        attributes = trial.user_attrs
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{attributes['experiment']},")]
        assert f",{attributes['metrics']['loss']}" in line
        assert repository.do("git", "show", f"{attributes['rev']}:new.py") == "new = True\n"
        assert attributes["overrides"] == {"lora_rank": trial.params["lora_rank"]}
        assert "max_steps: 4" in repository.do("git", "show", f"{attributes['rev']}:params.yaml")
    assert len(repository.experiments()) == len(different)


def test_a_sweep_that_was_killed_goes_on_and_loses_nothing_else(repository: Repository) -> None:
    (repository.control / "hang-8").touch()
    killed = repository.start("run")
    wait(lambda: "hangs 8" in repository.ran, "the training of rank 8")
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_SECONDS)
    foreign = f"refs/exps/{'0' * 2}/{'0' * 38}/ranks-1"  # of an earlier sweep, on another commit
    repository.do("git", "update-ref", foreign, "HEAD")
    orphans = [
        process
        for process in psutil.process_iter()
        if "work.py" in " ".join(_command(process)) and _inside(process, repository)
    ]
    assert orphans, "the stage outlives its driver"

    (repository.control / "said").unlink()
    resumed = repository.start("resume")
    assert wait(lambda: "left by a driver" in (repository.control / "said").read_text(), "the recovery")
    psutil.wait_procs(orphans, timeout=PATIENCE_SECONDS)
    (repository.control / "hang-8").unlink()

    assert resumed.wait(PATIENCE_SECONDS) == 0, (repository.control / "said").read_text()
    assert not any(process.is_running() for process in orphans)
    trials = repository.trials()
    assert states(trials) == ["complete", "fail", "complete", "complete"]
    assert trials[1].user_attrs["error"] == "its driver ended"
    assert trials[3].user_attrs["again"] == 1
    assert by_rank(trials).keys() == {4, 8, 16}
    assert "resumed 8" in repository.ran, "it goes on from the checkpoints of the first attempt"
    assert not any("4 as" in line for line in repository.ran), "what was finished, or never changed, does not run again"
    assert repository.experiments() == ["ranks-0", "ranks-1", "ranks-2", "ranks-3"]
    repository.do("git", "rev-parse", "--verify", foreign)
    assert repository.leftovers() == []


def test_a_trial_that_is_worse_than_others_were_is_ended_while_it_trains(repository: Repository) -> None:
    space = {"lora_rank": {"choices": [16, 12, 64]}}
    repository.write_sweep(pruner="median", trials=3, space=space, objective={"rouge_l": "maximize"})
    (repository.control / "hang-64").touch()

    said = repository.sweep("run")

    trials = repository.trials()
    assert states(trials) == ["complete", "complete", "pruned"]
    assert trials[2].intermediate_values == {1: -(0.1 + 3 + 1)}, "validation loss, as less of it is better"
    assert "pruned after validation 1" in said
    assert trials[0].intermediate_values.keys() == {1, 2, 3, 4}, "however fast it was"
    assert repository.experiments() == ["ranks-0", "ranks-1"]
    assert repository.leftovers() == []


def test_trials_that_all_fail_alike_end_the_sweep(repository: Repository) -> None:
    ranks = [8, 9, 10, 11]
    for rank in ranks:
        (repository.control / f"fail-{rank}").touch()
    repository.write_sweep(trials=4, space={"lora_rank": {"choices": ranks}})

    said = repository.sweep("run", code=1)

    assert "the first 3 trials all failed with the same words: models/base.json: no such base model" in said
    assert states(repository.trials())[:3] == ["fail"] * 3
    assert states(repository.trials())[3:] == ["waiting"]
    assert repository.experiments() == []


def test_a_sweep_stops_from_another_terminal_and_goes_on(repository: Repository) -> None:
    (repository.control / "hang-8").touch()
    driver = repository.start("run")
    wait(lambda: "hangs 8" in repository.ran, "the training of rank 8")

    repository.sweep("stop")
    (repository.control / "hang-8").unlink()

    assert driver.wait(PATIENCE_SECONDS) == 0
    assert states(repository.trials()) == ["complete", "complete", "waiting"]

    (repository.control / "hang-16").touch()
    driver = repository.start("run")
    wait(lambda: "hangs 16" in repository.ran, "the training of rank 16")
    repository.sweep("stop", "--now")

    assert driver.wait(PATIENCE_SECONDS) == 0
    assert states(repository.trials()) == ["complete", "complete", "fail", "waiting"]
    assert [line for line in repository.leftovers() if "checkpoints" not in line] == []
    (repository.control / "hang-16").unlink()
    assert "resumed 16" not in repository.ran
    repository.sweep("resume")
    assert states(repository.trials()) == ["complete", "complete", "fail", "complete"]
    assert "resumed 16" in repository.ran
    assert repository.leftovers() == []


@pytest.mark.nightly
def test_two_trials_at_once_have_a_gpu_each_and_two_drivers_share_the_work(repository: Repository) -> None:
    ranks = [4, 8, 16, 32]
    repository.write_sweep(trials=4, parallel=2, space={"lora_rank": {"choices": ranks}})
    repository.environment["CUDA_VISIBLE_DEVICES"] = "5,7"
    for rank in ranks[1:]:
        (repository.control / f"hang-{rank}").touch()

    drivers = [repository.start("run"), repository.start("run")]
    wait(lambda: {f"hangs {rank}" for rank in ranks[1:]} <= set(repository.ran), "three trainings at once")
    for rank in ranks[1:]:
        (repository.control / f"hang-{rank}").unlink()

    assert [driver.wait(PATIENCE_SECONDS) for driver in drivers] == [0, 0], (repository.control / "said").read_text()
    trials = repository.trials()
    assert states(trials) == ["complete"] * 4
    assert by_rank(trials).keys() == set(ranks)
    trained = [line for line in repository.ran if line.startswith("train ")]
    assert len(trained) == 3
    assert {line.rpartition(" ")[2] for line in trained} == {"5", "7"}
    assert len(repository.experiments()) == 4
    assert repository.leftovers() == []


def test_a_failed_trial_does_not_end_the_sweep_and_the_best_one_is_shown_and_applied(repository: Repository) -> None:
    objective = {"loss": "minimize", "cost": "minimize"}
    (repository.path / "new.py").write_text("new = True\n")
    repository.write_sweep(objective=objective, fixed={"max_steps": 3}, space={"lora_rank": {"choices": [8, 12, 16]}})
    (repository.control / "fail-12").touch()

    said = repository.sweep("run")

    trials = repository.trials()
    assert states(trials) == ["complete", "fail", "complete"]
    assert trials[1].user_attrs["error"] == "models/base.json: no such base model\nhint: fetch it"
    assert "trial 1: failed: models/base.json: no such base model" in said
    assert repository.experiments() == ["ranks-0", "ranks-2"]
    assert repository.leftovers() == []
    status, best = repository.sweep("status"), repository.sweep("best")
    assert "3 of 3 trials" in status
    assert "train evaluate" in status
    assert "trial 1 failed: models/base.json: no such base model" in status
    assert "trial 2, in full, without `fixed`: dvc exp run -S lora_rank=16\n" in best
    assert "several trials are best, each in another way: 0, 2" in repository.sweep("apply", code=1)
    assert "trial 1 has no result" in repository.sweep("apply", "--trial", "1", code=1)
    _edits_are_not_lost(repository)
    described = (repository.path / "sweep.yaml").read_text()
    repository.do("git", "tag", "ranks-2")  # a tag of that name is not the experiment
    applied = repository.sweep("apply", "--trial", "2")
    assert (repository.path / "sweep.yaml").read_text() == described, "edited, and not committed"
    assert "ranks-2 is in the workspace" in applied
    assert "with your own values: dvc exp run -S max_steps=4\n" in applied
    assert "ranks-0 is in the workspace" in repository.sweep("apply", "--trial", "0")
    repository.sweep("apply", "--trial", "2")
    assert "lora_rank: 16 # 1 to 64" in (repository.path / "params.yaml").read_text()
    assert json.loads((repository.path / "metrics/evaluate.json").read_text())["cost"] == 16
    assert json.loads((repository.path / "models/tuned").read_text())["max_steps"] == 3


def _edits_are_not_lost(repository: Repository) -> None:
    for name in ("work.py", "new.py"):
        path = repository.path / name
        before = path.read_text()
        path.write_text(f"{before}# edited\n")
        assert f"{name}: has edits that are not committed" in repository.sweep("apply", "--trial", "2", code=1)
        assert path.read_text() == f"{before}# edited\n"
        path.write_text(before)


def test_the_file_that_describes_a_sweep_is_none_of_its_code(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path)
    trees = []
    for trials in (3, 5):
        (repository.path / "rank.yaml").write_text(f"trials: {trials}\n")
        trees.append(take(repository.control, ["rank.yaml", "sweep.yaml"]).tree)

    assert trees[0] == trees[1]


def test_a_wrong_sweep_is_refused_before_any_work(repository: Repository) -> None:
    repository.write_sweep(
        space={"lora_rnk": {"choices": [4]}, "lora_rank": {"choices": [4, 128]}}, objective={"lss": "minimize"}
    )

    said = repository.sweep("run", code=1)

    assert "3 problems" in said
    assert "did you mean lora_rank?" in said
    assert "less than or equal to 64, but it is 128 (stage train)" in said
    assert "metrics/evaluate.json has loss, rouge_l, cost" in said
    assert not (repository.path / ".ollamake").exists()
    repository.write_sweep()
    with (repository.path / "large.jsonl").open("wb") as stream:
        stream.truncate(21_000_000)
    assert "git does not know large.jsonl" in repository.sweep("run", code=1)
    assert "there is no study" in repository.sweep("status", code=1)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _inside(process: psutil.Process, repository: Repository) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(repository.path) and process.pid != os.getpid()
    except (psutil.Error, OSError):
        return False
