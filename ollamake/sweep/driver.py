"""The loop of `sweep run`: keeps slots busy, watches what runs in them, and leaves when there is nothing left to do."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ollamake.sweep.errors import SweepError
from ollamake.sweep.heartbeat import BEAT_SECONDS, Heartbeat
from ollamake.sweep.search import ask, budget, count, queue_again, try_again, used_minutes
from ollamake.sweep.slot import Slot, abandoned, claim, end, kill
from ollamake.sweep.snapshot import git
from ollamake.sweep.trial import GIVEN_UP, Sweep, Trial

POLL_SECONDS = 0.5
# So many failures with the same words before anything else mean that no trial will do better.
SAME_FAILURES = 3
# The attribute of the study that `sweep stop` sets, and what it may say.
STOP, AFTER, NOW = "stop", "after", "now"


class Driver:
    """Runs trials of one sweep on this machine; several drivers share the work through Optuna's storage."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep, self._running = sweep, list[Trial]()
        self._heart = Heartbeat(sweep.study._storage, sweep.spec.name)  # noqa: SLF001
        self._stop, self._beaten, self._failure = "", 0.0, ""

    def drive(self) -> None:
        """Run trials until the limits are reached or somebody stops it. Raises SweepError if none can succeed."""
        self._sweep.study.set_user_attr(STOP, "")
        with self._signals():
            try:
                self._loop()
            finally:  # of an error; what is left of its trials is found by whoever goes on
                for trial in self._running:
                    kill(trial.slot.folder)
        if self._failure:
            raise SweepError(
                f"the first {SAME_FAILURES} trials all failed with the same words: {self._failure}",
                where=self._sweep.spec.name,
                hint=f"{self._sweep.snapshot.folder}/logs has the rest; `python -m ollamake sweep resume` tries again",
            )

    def _loop(self) -> None:
        while self._more() or self._running:
            self._beat()
            self._running = [trial for trial in self._running if not self._step(trial)]
            time.sleep(POLL_SECONDS)

    def _more(self) -> bool:
        """Start trials where there is room; return whether more may be wanted later."""
        self._take_over()
        self._obey()
        while len(self._running) < self._room():
            if self._stop or self._is_over() or not self._start():
                return False
        return not self._stop

    def _room(self) -> int:
        return self._sweep.spec.parallel if self._is_prepared() else 1

    def _is_prepared(self) -> bool:
        """Tell whether the stages that all trials share are done, so that several at once do not all run them."""
        if any(trial.user_attrs.get("experiment") for trial in self._sweep.study.get_trials(deepcopy=False)):
            return True
        stages = self._sweep.graph.stages.keys()
        shared = stages - self._sweep.graph.rerun(self._sweep.spec.space)
        return any(trial.run and shared <= trial.run.settled() for trial in self._running)

    def _is_over(self) -> bool:
        """Tell whether the trials or the time are used up; what runs then may end."""
        spec, trials = self._sweep.spec, self._sweep.study.get_trials(deepcopy=False)
        limit = spec.time_budget_minutes
        return count(trials) >= budget(spec) or (limit is not None and used_minutes(trials) >= limit)

    def _start(self) -> bool:
        slot = claim(self._sweep.snapshot)
        asked = ask(self._sweep.study, self._sweep.spec, self._sweep.snapshot, slot.reserve)
        if asked is None:
            slot.clear()
            slot.release()
            return False
        trial = Trial(self._sweep, *asked, slot)
        self._running.append(trial)
        self._heart.beat(trial.number)
        trial.begin()
        return True

    def _step(self, trial: Trial) -> bool:
        if not trial.step():
            return False
        trial.slot.clear()
        trial.slot.release()
        if trial.failed and self._fails_always():
            self._failure, self._stop = trial.failed, NOW
            self._break_off("broken off, because no trial would succeed")
        return True

    def _fails_always(self) -> bool:
        """Tell whether the study's first trials all failed with the same words."""
        from optuna.trial import TrialState

        ended = [trial for trial in self._sweep.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        failed = [trial for trial in ended if trial.state == TrialState.FAIL and "seconds" in trial.user_attrs]
        words = [trial.user_attrs.get("error") for trial in failed]
        only = not any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in ended)
        return only and len(words) >= SAME_FAILURES and len(set(words[-SAME_FAILURES:])) == 1

    def _take_over(self) -> None:
        """Queue again what drivers of this machine that died were at."""
        for slot in abandoned(self._sweep.snapshot):
            self._recover(slot)

    def _recover(self, slot: Slot) -> None:
        end(slot.folder)
        number = slot.left
        if number is not None:
            slot.keep_checkpoints(number)
            trials = self._sweep.study.get_trials(deepcopy=False)
            frozen = trials[number] if number < len(trials) else None
            if frozen and not frozen.state.is_finished():
                base = self._sweep.snapshot.base_rev
                # Brought here, but never told of; those of other commits belong to other sweeps.
                git("update-ref", "-d", f"refs/exps/{base[:2]}/{base[2:]}/{self._sweep.spec.name}-{number}")
                try_again(self._sweep.study, frozen, "its driver ended")
                self._sweep.say(f"trial {number} was left by a driver that ended; its parameters are queued again")
        slot.clear()
        slot.release()

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < BEAT_SECONDS:
            return
        self._beaten = time.monotonic()
        for trial in self._running:
            if not self._heart.beat(trial.number):
                trial.end(GIVEN_UP)
        for dead in self._heart.free_dead():
            queue_again(self._sweep.study, dead)

    def _obey(self) -> None:
        """Do what `sweep stop` or Ctrl-C asked for."""
        asked = self._sweep.study.user_attrs.get(STOP, "")
        if asked and self._stop != NOW:
            self._stop = asked
        if self._stop == NOW:
            self._break_off("broken off")

    def _break_off(self, why: str) -> None:
        for trial in self._running:
            if not trial.verdict:
                trial.end(why)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C lets the running trials end, a second one breaks them off, as do SIGTERM and a closed terminal."""
        kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(kind, self._on_signal) for kind in kinds]
        try:
            yield
        finally:
            for kind, handler in zip(kinds, before, strict=True):
                signal.signal(kind, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and not self._stop:
            self._stop = AFTER
            self._sweep.say("stopping when the running trials have ended; Ctrl-C again breaks them off")
        else:
            self._stop = NOW
