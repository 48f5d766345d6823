"""One trial from its question to its answer: it runs, is pruned, fails, is broken off, or equals an earlier one."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollamake.errors import OllamakeError
from ollamake.sweep.errors import SweepError, first_line
from ollamake.sweep.graph import Graph
from ollamake.sweep.machine import gpu_of, machine
from ollamake.sweep.run import Run
from ollamake.sweep.search import AGAIN, BEGAN, try_again
from ollamake.sweep.slot import Slot
from ollamake.sweep.snapshot import Snapshot, git
from ollamake.sweep.space import Point
from ollamake.sweep.spec import Spec

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as Asked
    from optuna.trial import FrozenTrial

GIVEN_UP = "given up for dead by another machine"
COPIED = ("experiment", "rev", "metrics")


@dataclass(frozen=True)
class Sweep:
    """What all trials of a sweep share; `say` tells a person how it goes."""

    spec: Spec
    study: "Study"
    snapshot: Snapshot
    graph: Graph
    say: Callable[[str], None]


@dataclass
class Trial:
    """A trial that Optuna asked for, in a slot; `step` moves it on until it returns True."""

    sweep: Sweep
    asked: "Asked"
    point: Point
    slot: Slot
    run: Run | None = None
    verdict: str = ""  # why it is being ended before its end: pruned, broken off, or given up
    failed: str = ""  # what went wrong, once it has failed
    reported: int = field(default=0)

    @property
    def number(self) -> int:
        """Its number in the study."""
        return int(self.asked.number)

    @property
    def overrides(self) -> Point:
        """What it changes in params.yaml, the fixed values too."""
        return {**self.sweep.spec.fixed, **self.point}

    def begin(self) -> None:
        """Write down what is about to run, and start it unless the same is running or ran before."""
        for name, value in (
            ("overrides", self.overrides),
            ("machine", machine()),
            ("workspace", self.sweep.snapshot.tree),
        ):
            self.asked.set_user_attr(name, value)
        if self._twin() is None:
            self._start()

    def _start(self) -> None:
        self.slot.fill(self.asked.user_attrs.get(AGAIN))
        self.asked.set_user_attr(BEGAN, time.time())
        self.sweep.say(f"trial {self.number}: {_shown(self.point) or 'as params.yaml has it'}")
        self.run = Run(self.slot, f"{self.sweep.spec.name}-{self.number}", self.overrides, gpu_of(self.slot.index))

    def step(self) -> bool:
        """Look at it once; return whether it is over."""
        if self.run is None:
            return self._repeat()
        code = self.run.poll()
        if code is None:
            if not self.verdict:
                self._watch(self.run)
            return False
        self._conclude(self.run, code)
        return True

    def end(self, verdict: str) -> None:
        """Have it ended before its end."""
        self.verdict = self.verdict or verdict
        if self.run:
            self.run.interrupt()

    def _twin(self) -> "FrozenTrial | None":
        """Return an earlier trial with the same parameters that did not fail, if there is one."""
        from optuna.trial import TrialState

        earlier = self.sweep.study.get_trials(deepcopy=False)[: self.number]
        same = [trial for trial in earlier if trial.user_attrs.get("overrides") == self.overrides]
        useful = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return next((trial for trial in same if trial.state in useful), None)

    def _repeat(self) -> bool:
        """Take over what an equal trial came to, once it has; run after all when that one failed."""
        from optuna.trial import TrialState

        twin = self._twin()
        if self.verdict:
            self._give_back()
            return True
        if twin is None:
            self._start()
            return False
        if twin.state == TrialState.RUNNING:
            return False
        attributes = {name: twin.user_attrs[name] for name in COPIED if name in twin.user_attrs}
        self._note({**attributes, "seconds": 0.0, "ran": [], "same_as": twin.number})
        for step, value in twin.intermediate_values.items():
            self.asked.report(value, step)
        self._tell(twin.state, twin.values if twin.state == TrialState.COMPLETE else None)
        self.sweep.say(f"trial {self.number}: the same parameters as trial {twin.number}, and so the same result")
        return True

    def _watch(self, run: Run) -> None:
        """Report new points of the curve, and prune a trial that does worse than others did."""
        for _ in self._reporting(run.curve):
            if self.asked.should_prune():
                self.end("pruned")
                return

    def _reporting(self, curve_at: Callable[[str], Sequence[float]]) -> Iterator[float]:
        """Report the points that are new of the curve that the pruner goes by, if there is one, and yield each."""
        from optuna.exceptions import UpdateFinishedTrialError

        if self.sweep.spec.pruner == "none":
            return
        ((objective, direction),) = self.sweep.spec.objective.items()
        path = self.sweep.graph.curve(objective)
        # Less of the validation loss is better, whatever the objective: Optuna compares in the objective's direction.
        sign = -1 if direction == "maximize" and Path(path).stem != objective else 1
        for value in curve_at(path)[self.reported :]:
            self.reported += 1
            try:
                self.asked.report(sign * value, self.reported)
            except UpdateFinishedTrialError:
                self.end(GIVEN_UP)
                return
            yield value

    def _conclude(self, run: Run, code: int) -> None:
        if self.verdict == "pruned":
            self._prune(run)
        elif self.verdict:
            self._give_back()
        elif code == 0:
            self._complete(run)
        else:
            self._fail(run, run.error())

    def _complete(self, run: Run) -> None:
        from optuna.trial import TrialState

        try:
            ref = self.slot.experiment(run.name)
            metrics = run.metrics(ref)
            values = [metrics.get(name, math.nan) for name in self.sweep.spec.objective]
            if math.isnan(sum(values)):
                raise SweepError(f"metrics/evaluate.json has no number for {' or '.join(self.sweep.spec.objective)}")
            rev = self.slot.publish(ref)
        except (OllamakeError, ValueError) as error:
            self._fail(run, str(error).removeprefix("error: "))
            return
        for _ in self._reporting(lambda path: run.whole_curve(ref, path)):
            pass  # what was drawn since the last look at it: later trials are compared with that, too
        seconds, ran = round(run.seconds, 1), run.ran()
        self._note({"experiment": run.name, "rev": rev, "metrics": metrics, "seconds": seconds, "ran": ran})
        if not self._tell(TrialState.COMPLETE, values):
            git("update-ref", "-d", ref)
        shown = ", ".join(f"{name} {value:g}" for name, value in zip(self.sweep.spec.objective, values, strict=True))
        self.sweep.say(f"trial {self.number}: {shown} in {seconds:.0f} s; ran {', '.join(ran) or 'nothing'}")

    def _prune(self, run: Run) -> None:
        from optuna.trial import TrialState

        self._note({"seconds": round(run.seconds, 1), "ran": run.ran()})
        self._tell(TrialState.PRUNED)
        run.log.unlink()
        self.sweep.say(f"trial {self.number}: pruned after validation {self.reported}, {run.seconds:.0f} s")

    def _fail(self, run: Run, error: str) -> None:
        from optuna.trial import TrialState

        self.failed = error
        self._note({"seconds": round(run.seconds, 1), "ran": run.ran(), "error": error})
        self._tell(TrialState.FAIL)
        self.sweep.say(f"trial {self.number}: failed: {first_line(error)} ({run.log})")

    def _give_back(self) -> None:
        """Leave the trial to whoever goes on with the sweep, with the checkpoints that it has."""
        self.slot.keep_checkpoints(self.number)
        try_again(self.sweep.study, self.asked, self.verdict)
        if self.run:
            self.run.log.unlink()
        self.sweep.say(f"trial {self.number}: {self.verdict}; its parameters are queued again")

    def _note(self, attributes: dict[str, Any]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        for name, value in attributes.items():
            try:
                self.asked.set_user_attr(name, value)
            except UpdateFinishedTrialError:  # given up for dead by another machine
                return

    def _tell(self, state: Any, values: list[float] | None = None) -> bool:
        """Tell Optuna how it ended; False when another machine had given it up for dead."""
        try:
            self.sweep.study.tell(self.asked, values, state=state)
        except ValueError:
            return False
        return True


def _shown(point: Point) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())
