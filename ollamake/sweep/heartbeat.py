"""Signs of life of running trials, so that those of a machine that died are done by another.

Optuna's own heartbeat works with databases only, and only in `study.optimize`. This one is an attribute of the trial,
so it works in every storage, and no clock of another machine is trusted: a trial is dead once *this* process has seen
the same sign for `DEAD_SECONDS`.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

BEAT_SECONDS, DEAD_SECONDS = 30, 300
SIGN = "ollamake:alive"


class Heartbeat:
    """The signs of life in one study, as one process leaves and sees them; trials go by their number."""

    def __init__(self, storage: "BaseStorage", study: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage, self._clock = storage, clock
        self._study_id = storage.get_study_id_from_name(study)
        self._trial_id = cache(lambda number: storage.get_trial_id_from_study_id_trial_number(self._study_id, number))
        self._seen: dict[int, tuple[object, float]] = {}  # the sign, and when it was first seen

    def beat(self, number: int) -> bool:
        """Leave a sign for a running trial, about every `BEAT_SECONDS`; False when the trial is no longer ours.

        It was then given up for dead, and its result here is of no use: another machine does it.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._storage.set_trial_system_attr(self._trial_id(number), SIGN, time.time())
        except UpdateFinishedTrialError:
            return False
        return True

    def free_dead(self) -> "list[FrozenTrial]":
        """Mark the running trials that died as failed, and return them: of several callers each trial goes to one."""
        return [trial for trial in self._dead() if self._fail(trial.number)]

    def _dead(self) -> "list[FrozenTrial]":
        from optuna.trial import TrialState

        running = self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.RUNNING,))
        now, before = self._clock(), self._seen
        self._seen = {}
        for trial in running:
            sign, known = trial.system_attrs.get(SIGN), before.get(trial.number)
            self._seen[trial.number] = known if known and known[0] == sign else (sign, now)
        return [trial for trial in running if now - self._seen[trial.number][1] >= DEAD_SECONDS]

    def _fail(self, number: int) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            return self._storage.set_trial_state_values(self._trial_id(number), TrialState.FAIL)
        except UpdateFinishedTrialError:  # another machine was faster, or the trial ended by itself
            return False
