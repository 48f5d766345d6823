"""The results of a study as its report needs them: trials by what became of them, objectives, the best, the default."""

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ollamake.sweep.check import METRICS
from ollamake.sweep.errors import SweepError
from ollamake.sweep.storage import open_storage, own_studies
from ollamake.sweep.url import describe, shared

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

LEAST, TOP = 10, 5  # trials: PED-ANOVA compares the best ones with all, and five are the fewest that it can tell from


@dataclass(frozen=True)
class Objective:
    """What a study optimises: a dotted key of metrics/evaluate.json, and whether more of it is better."""

    name: str
    maximize: bool

    def better(self, one: float, other: float) -> bool:
        """Say whether `one` is the better value."""
        return one > other if self.maximize else one < other


@dataclass(frozen=True)
class Results:
    """A study as it stands; `trials` are in the order of their numbers."""

    study: "Study"
    objectives: Sequence[Objective]
    trials: "Sequence[FrozenTrial]"

    @property
    def spec(self) -> Mapping[str, Any]:
        """The study's sweep.yaml as it was when the study began."""
        return _mapping(self.study.user_attrs.get("spec"))

    @property
    def fixed(self) -> Mapping[str, Any]:
        """What all trials changed in params.yaml, so that they do not compare with the commit itself."""
        return _mapping(self.spec.get("fixed"))

    @property
    def head_metrics(self) -> Mapping[str, Any]:
        """The flat metrics of the commit that the study began from; none where it had no build."""
        return _mapping(_mapping(self.study.user_attrs.get("default")).get("metrics"))

    @property
    def head_params(self) -> Mapping[str, Any]:
        """Its parameters, of those in the search space."""
        return _mapping(_mapping(self.study.user_attrs.get("default")).get("params"))

    @cached_property
    def default(self) -> "FrozenTrial | None":
        """The trial with the parameters of that commit, where there is one."""
        drawn = ((trial, self.drawn(trial)) for trial in self.complete)
        return next((trial for trial, values in drawn if values and values.items() <= self.head_params.items()), None)

    @property
    def default_metrics(self) -> Mapping[str, Any]:
        """What trials compare with: the default's trial, or the commit itself where that was made like them."""
        return self.metrics(self.default) if self.default else {} if self.fixed else self.head_metrics

    def metrics(self, trial: "FrozenTrial") -> Mapping[str, Any]:
        """Return the flat metrics of a trial; none where it did not finish."""
        return _mapping(trial.user_attrs.get("metrics")) if trial.state.name == "COMPLETE" else {}

    def drawn(self, trial: "FrozenTrial") -> Mapping[str, Any]:
        """Return the searched parameters of a trial as they ran: Optuna's own have more digits."""
        ran = _mapping(trial.user_attrs.get("overrides"))
        return {name: ran.get(name, value) for name, value in trial.params.items()}

    def interval(self, rev: str | None, metric: str) -> Sequence[float] | None:
        """Return the ends of the 95 % interval of a metric at a revision, where that is in this repository."""
        return self._intervals.get(rev or "", {}).get(metric)

    @cached_property
    def _intervals(self) -> Mapping[str, Mapping[str, Sequence[float]]]:
        revs = [trial.user_attrs["rev"] for trial in self.complete if "rev" in trial.user_attrs]
        return _intervals([*revs, self.base_rev])

    @property
    def base_rev(self) -> str:
        """The commit that the study began from."""
        return str(self.study.user_attrs.get("base_rev", "HEAD"))

    @cached_property
    def by_state(self) -> "Mapping[str, Sequence[FrozenTrial]]":
        """The trials as `complete`, `pruned`, `fail`, `running` and `waiting`."""
        from optuna.trial import TrialState

        return {state.name.lower(): [one for one in self.trials if one.state == state] for state in TrialState}

    @cached_property
    def complete(self) -> "Sequence[FrozenTrial]":
        """The trials that have a value for each objective, which is a number that can be drawn."""
        return [trial for trial in self.by_state["complete"] if all(map(math.isfinite, trial.values))]

    @cached_property
    def points(self) -> Sequence[dict[str, Any]]:
        """What the pruned and the finished trials reported while they ran: trial, step, value and kind."""
        return [
            {"trial": trial.number, "step": step, "value": value, "kind": kind}
            for kind in ("pruned", "complete")
            for trial in self.by_state[kind]
            for step, value in sorted(trial.intermediate_values.items())
            if math.isfinite(value)
        ]

    @cached_property
    def best(self) -> "Sequence[FrozenTrial]":
        """The best trial; of several objectives, the trials that no other one beats in all of them."""
        if not self.complete:
            return []
        if len(self.objectives) == 1:
            return [self.leader(0)]
        numbers = {trial.number for trial in self.study.best_trials}
        return [trial for trial in self.complete if trial.number in numbers]

    def leader(self, place: int) -> "FrozenTrial":
        """Return the finished trial that is best in one objective."""
        pick = max if self.objectives[place].maximize else min
        return pick(self.complete, key=lambda trial: trial.values[place])

    @property
    def params(self) -> Sequence[str]:
        """The parameters that the finished trials drew, in their order."""
        return list(dict.fromkeys(name for trial in self.complete for name in trial.params))

    @property
    def timed(self) -> "Sequence[FrozenTrial]":
        """The finished trials whose seconds are known."""
        return [trial for trial in self.complete if "seconds" in trial.user_attrs]


def read_results(url: str | None, name: str | None) -> Results:
    """Return the results of the study; without a name, of the newest here or the only one in a shared storage.

    Raises SweepError when there is none, or it has no trial.
    """
    study = find_study(url, name)
    trials = study.get_trials(deepcopy=False)
    if not trials:
        raise SweepError("the study has no trial yet", where=study.study_name, hint="`python -m ollamake sweep run`")
    return Results(study, _objectives(study), trials)


def find_study(url: str | None, name: str | None) -> "Study":
    """Return the study of that name; without one, the newest in this checkout or the only one in the shared storage.

    Raises SweepError when it is not there, with the names of those that are.
    """
    import optuna

    names = _shared_studies(url) if shared(url) else own_studies()
    if name is None and (len(names) == 1 or (names and not shared(url))):
        name = names[0]
    if name not in names:
        raise SweepError(
            f"there is no study {name}" if name else "there are several studies" if names else "there is no study",
            where=describe(shared(url)),
            hint=f"name one of {', '.join(names)}" if names else "`python -m ollamake sweep run` begins one",
        )
    return optuna.load_study(study_name=name, storage=open_storage(url, name))


def importance(results: Results) -> Mapping[str, float]:
    """Return the share of each parameter in what makes a trial one of the best; nothing where trials are too few."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    count = len(results.complete)
    if count < LEAST or len(results.params) < 2:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / count))
    return get_param_importances(results.study, evaluator=evaluator)


def _intervals(revs: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Return the 95 % intervals that metrics/evaluate.json has, by revision; none of those that are not here."""
    wanted = "".join(f"{rev}:{METRICS}\n" for rev in revs)
    try:
        ran = subprocess.run(["git", "cat-file", "--batch"], input=wanted.encode(), capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git repository, no experiments
        return {}
    stream, found = BytesIO(ran.stdout), {}
    for rev in revs:
        head = stream.readline().split()
        if head[1:2] == [b"blob"]:
            found[rev] = json.loads(stream.read(int(head[2]))).get("intervals", {})
            stream.readline()
    return found


def _shared_studies(url: str | None) -> list[str]:
    return sorted(study.study_name for study in open_storage(url, "").get_all_studies())


def _objectives(study: "Study") -> list[Objective]:
    from optuna.study import StudyDirection

    names = _mapping(study.user_attrs.get("spec")).get(
        "objective", [f"objective {n}" for n in range(len(study.directions))]
    )
    maximize = (direction == StudyDirection.MAXIMIZE for direction in study.directions)
    return [Objective(*pair) for pair in zip(names, maximize, strict=True)]


def _mapping(content: Any) -> Mapping[str, Any]:
    """Return what a driver wrote as JSON or as it is; nothing when it wrote nothing."""
    found = json.loads(content) if isinstance(content, str) else content
    return found if isinstance(found, Mapping) else {}
