"""The study in Optuna: begun once, asked for the next trial within its limits, told what became of it."""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ollamake.sweep.errors import SweepError
from ollamake.sweep.snapshot import Snapshot, exclusive
from ollamake.sweep.space import Point, locate, points, suggest
from ollamake.sweep.spec import Spec

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# User attributes of a trial that tries again what another one, this number, was not let finish.
AGAIN = "again"
# When a trial's run began, in seconds since 1970: the times that Optuna writes are local to each machine.
BEGAN = "began"
INTRODUCTION_SECONDS = 60


def begin(storage: "BaseStorage", spec: Spec) -> "tuple[Study, bool]":
    """Return the study of that name, and whether it was made just now: of machines that begin at once, one makes it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known: dict[str, Any] = {"storage": storage, "study_name": spec.name, "pruner": _pruner(spec)}
    with _quiet():
        try:
            return optuna.create_study(**known, directions=list(spec.objective.values())), True
        except optuna.exceptions.DuplicatedStudyError:
            return optuna.load_study(**known), False


def await_introduction(study: "Study") -> None:
    """Wait until the machine that made the study has said what it is about. Raises SweepError if it does not."""
    until = time.monotonic() + INTRODUCTION_SECONDS
    while "spec" not in study.user_attrs:
        if time.monotonic() > until:
            raise SweepError(
                "the study was begun, and never described", where=study.study_name, hint="take another name"
            )
        time.sleep(0.2)


def introduce(study: "Study", spec: Spec, snapshot: Snapshot, content: Mapping[str, Any], default: Any) -> None:
    """Write down what the study is about, and queue what is known to be tried: the default, or the whole grid."""
    with _quiet():
        study.set_metric_names(list(spec.objective))
        for point in _first(spec, content):
            study.enqueue_trial(point, skip_if_exists=True)
    study.set_user_attr("base_rev", snapshot.base_rev)
    study.set_user_attr("workspace", snapshot.tree)
    study.set_user_attr("default", default)
    study.set_user_attr("spec", spec.dump())  # last: whoever finds it finds all


def _first(spec: Spec, content: Mapping[str, Any]) -> list[Point]:
    if spec.sampler != "grid":
        default = locate(content, spec.space)
        return [default] if default else []
    grid = list(points(spec.space))
    if len(grid) > spec.trials:  # a part of it that is no corner
        random.Random(spec.seed).shuffle(grid)  # noqa: S311 - no secret
    return grid


def read_spec_of(study: "Study") -> Spec:
    """Return the sweep that the study is about. Raises SweepError for a study that is none of ours."""
    if "spec" not in study.user_attrs:
        raise SweepError("the study was not begun by `sweep run`", where=study.study_name, hint="take another name")
    return Spec.model_validate_json(study.user_attrs["spec"])


def require_same(study: "Study", spec: Spec, tree: str) -> None:
    """Raise SweepError if the study searches for something else, or with other code."""
    if changed := read_spec_of(study).differs(spec):
        raise SweepError(
            f"the study has another {' and another '.join(changed)}",
            where=spec.name,
            hint=f"another `name:` begins another study; `python -m ollamake sweep resume {spec.name}` goes on with it",
        )
    if study.user_attrs["workspace"] != tree:
        raise SweepError(
            "the study was begun with other code, parameters or data than are here, and results would not compare",
            where=spec.name,
            hint=f"`git status` and `git checkout {study.user_attrs['base_rev'][:10]}`; or another `name:`",
        )


def ask(study: "Study", spec: Spec, snapshot: Snapshot, reserve: Callable[[int], None]) -> "tuple[Trial, Point] | None":
    """Return the next trial and its point, None when the study has had all its trials.

    `reserve` is called with its number at once: what is killed after that can be found again.
    """
    from optuna.trial import TrialState

    with exclusive(snapshot.folder, "ask"), _quiet():
        trials = study.get_trials(deepcopy=False)
        if count(trials) >= budget(spec):
            return None
        study.sampler = _sampler(spec, len(trials))
        trial = study.ask()
        reserve(trial.number)
        if count(study.get_trials(deepcopy=False), trial.number) >= budget(spec):
            # Another machine asked at the same moment; the trial waits for somebody to raise the limit.
            study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)  # noqa: SLF001
            return None
        return trial, suggest(trial, spec.space)


def budget(spec: Spec) -> int:
    """Return how many trials the study is to have."""
    return min(spec.trials, sum(1 for _ in points(spec.space))) if spec.sampler == "grid" else spec.trials


def count(trials: "list[FrozenTrial]", before: int | None = None) -> int:
    """Return how many trials (before the given number) count: that run or ended, and that no other one tries again."""
    from optuna.trial import TrialState

    repeated = {trial.user_attrs.get(AGAIN) for trial in trials}
    return sum(trial.state != TrialState.WAITING and trial.number not in repeated for trial in trials[:before])


def try_again(study: "Study", trial: "FrozenTrial | Trial", reason: str) -> None:
    """Mark a trial that was not let finish as failed, and queue its parameters once more."""
    import optuna
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        optuna.trial.Trial(study, trial._trial_id).set_user_attr("error", reason)  # noqa: SLF001
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):  # somebody else marked it, and queued it
        return
    queue_again(study, trial)


def queue_again(study: "Study", trial: "FrozenTrial | Trial") -> None:
    """Queue the parameters of a trial that was marked as failed once more."""
    with _quiet():
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})


def used_minutes(trials: "list[FrozenTrial]") -> float:
    """Return how long trials were running, those at the same time counted once; trials tried again are left out."""
    now = time.time()
    repeated = {trial.user_attrs.get(AGAIN) for trial in trials}
    spans = [
        (began, began + trial.user_attrs["seconds"] if "seconds" in trial.user_attrs else now)
        for trial in trials
        if (began := trial.user_attrs.get(BEGAN)) is not None and trial.number not in repeated
    ]
    seconds, until = 0.0, 0.0
    for start, stop in sorted(spans):
        seconds += max(stop - max(start, until), 0)
        until = max(stop, until)
    return seconds / 60


def _sampler(spec: Spec, number: int) -> "BaseSampler":
    """Return a sampler for one trial. Each has a seed of its own: one for all would begin anew after a resume."""
    from optuna import samplers

    seed = spec.seed + number
    if spec.sampler == "tpe":
        # In groups, a parameter under a condition learns from those trials that had it.
        startup = max(4, min(10, spec.trials // 3))
        return samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=startup)
    if spec.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=max(4, min(10, spec.trials // 3)))
    if spec.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)  # of a grid, all points are queued


def _pruner(spec: Spec) -> "BasePruner":
    """Return the pruner; its steps are validations."""
    from optuna import pruners

    if spec.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=max(2, min(5, spec.trials // 4)))
    if spec.pruner == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if spec.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    return pruners.NopPruner()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out that parts of Optuna are experimental, and that a default does not lie on a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
