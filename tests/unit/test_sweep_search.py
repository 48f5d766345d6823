"""What a study asks for and counts: trials over several drivers, minutes of work, what is tried again."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from ollamake.sweep.errors import SweepError
from ollamake.sweep.machine import gpu_of
from ollamake.sweep.search import ask, begin, budget, count, introduce, require_same, try_again, used_minutes
from ollamake.sweep.snapshot import Snapshot
from ollamake.sweep.spec import Spec
from ollamake.sweep.storage import open_storage

SPACE = {"lora_rank": {"choices": [4, 8, 16]}, "learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
CONTENT = {"lora_rank": 8, "learning_rate": 0.01, "lora_dropout": 0.9, "warmup_ratio": 0.1}
START = datetime(2026, 1, 1)  # noqa: DTZ001 - as Optuna has it


class Case:
    """A study in a journal in `folder`."""

    def __init__(self, folder: Path, **lines: Any) -> None:
        content = {"name": "s", "objective": {"loss": "minimize"}, "sampler": "random", "trials": 3, "space": SPACE}
        self.spec = Spec.model_validate({**content, **lines})
        self.snapshot = Snapshot(folder, "b" * 40, "t" * 40, "cache")
        self.url = f"journal:{folder}/journal.log"
        self.study = begin(open_storage(self.url, "s"), self.spec)[0]
        introduce(self.study, self.spec, self.snapshot, CONTENT, {"metrics": {}, "params": {}})

    def ask(self) -> tuple[optuna.Trial, Any] | None:
        return ask(self.study, self.spec, self.snapshot, lambda number: None)

    @property
    def states(self) -> list[str]:
        return [trial.state.name.lower() for trial in self.study.get_trials()]


def asked(case: Case) -> tuple[optuna.Trial, Any]:
    found = case.ask()
    assert found
    return found


def test_the_first_trial_is_the_default_and_the_others_are_not(tmp_path: Path) -> None:
    case = Case(tmp_path)

    points = [asked(case)[1] for _ in range(3)]

    assert points[0] == {"lora_rank": 8, "learning_rate": 0.01}
    assert len({point["learning_rate"] for point in points}) == 3
    assert case.ask() is None


def test_a_default_outside_of_the_space_is_no_trial(tmp_path: Path) -> None:
    case = Case(tmp_path, space={"lora_rank": {"choices": [4, 16]}})

    assert case.states == []


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_a_sweep_that_goes_on_draws_what_it_would_have_drawn(tmp_path: Path, sampler: str) -> None:
    space = {**SPACE, "lora_dropout": {"low": 0.0, "high": 0.5}, "warmup_ratio": {"low": 0.0, "high": 0.5}}
    drawn: dict[str, list[Any]] = {"whole": [], "resumed": []}
    for name, points in drawn.items():
        (tmp_path / name).mkdir()
        case = Case(tmp_path / name, sampler=sampler, space=space, trials=8)
        for number in range(8):
            if name == "resumed" and number in (2, 6):
                case.study = begin(open_storage(case.url, "s"), case.spec)[0]
            trial, point = asked(case)
            points.append(point)
            case.study.tell(trial, number * 0.1)

    assert drawn["whole"] == drawn["resumed"]
    assert len({point["learning_rate"] for point in drawn["whole"]}) == 8


def test_a_grid_is_queued_whole_and_ends_when_all_is_tried(tmp_path: Path) -> None:
    case = Case(tmp_path, sampler="grid", space={"lora_rank": {"choices": [4, 8, 16]}}, trials=10)

    points = [asked(case)[1] for _ in range(3)]

    assert [point["lora_rank"] for point in points] == [4, 8, 16]
    assert budget(case.spec) == 3
    assert case.ask() is None


def test_machines_that_ask_at_the_same_moment_do_not_exceed_the_trials(tmp_path: Path) -> None:
    case = Case(tmp_path, trials=2)
    asked(case)
    other = begin(open_storage(case.url, "s"), case.spec)[0]
    ask_other = other.ask
    case_study_ask = case.study.ask

    def late() -> optuna.Trial:  # the other machine is between its look and its question just as we ask
        ask_other()
        return case_study_ask()

    case.study.ask = late  # type: ignore[method-assign]

    assert case.ask() is None
    assert case.states == ["running", "running", "waiting"]


def test_what_is_tried_again_counts_once(tmp_path: Path) -> None:
    case = Case(tmp_path, trials=2)
    trial, point = asked(case)
    try_again(case.study, trial, "its driver ended")
    try_again(case.study, trial, "its driver ended")

    assert case.states == ["fail", "waiting"]
    assert count(case.study.get_trials()) == 0
    again, same = asked(case)
    assert same == point
    assert again.user_attrs == {"again": 0}
    assert asked(case)
    assert case.ask() is None


def test_minutes_of_trials_at_the_same_time_count_once_and_pauses_do_not() -> None:
    def trial(start: float, stop: float, number: int, **attributes: Any) -> FrozenTrial:
        span = {"began": 1e9 + 60 * start, "seconds": 60 * (stop - start)}
        made = create_trial(state=TrialState.FAIL, user_attrs={**attributes, **span})
        # Optuna's own times are of the machine's zone: another machine's are hours away.
        made.datetime_start = made.datetime_complete = START + timedelta(hours=number)
        made.number = number
        return made

    trials = [trial(0, 10, 0), trial(5, 15, 1), trial(6, 7, 2), trial(100, 110, 3), trial(200, 900, 4)]

    assert used_minutes([*trials, trial(900, 905, 5, again=4)]) == pytest.approx(15 + 10 + 5)


def test_a_study_goes_on_with_the_same_search_and_code_only(tmp_path: Path) -> None:
    case = Case(tmp_path)
    lines = case.spec.model_dump(by_alias=True)

    require_same(case.study, Spec.model_validate({**lines, "trials": 50, "parallel": 2}), "t" * 40)
    with pytest.raises(SweepError, match="another sampler"):
        require_same(case.study, Spec.model_validate({**lines, "sampler": "tpe"}), "t" * 40)
    with pytest.raises(SweepError, match="other code"):
        require_same(case.study, case.spec, "u" * 40)


def test_gpus_are_given_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,GPU-7a")

    assert [gpu_of(slot) for slot in range(4)] == ["2", "5", "GPU-7a", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert gpu_of(1) is None
