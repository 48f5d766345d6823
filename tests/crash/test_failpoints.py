"""A stage whose k-th call to the disk fails, for many k: it says so or ends, and the next run gives the same bytes."""

import random
import re
from collections.abc import Sequence

import pytest

from tests.counts import dice, times
from tests.faults.failpoints import KILLED
from tests.faults.kills import STAGES, Victim
from tests.faults.strikes import NEVER, Range, Strike

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
POINTS, LOSSES = times(4, release=1_000), times(8, release=50)
# Training makes hundreds of calls, at each of which it takes seconds to be there.
STRIDES = {"prepare": 1, "tokenize": 1, "evaluate": 1, "export": 1, "train": 7}
SAMPLE = 2


def struck(victim: Victim, stage: str, action: str, most: int, drawn: random.Random, every: int = 1) -> list[Strike]:
    """Strike a stage at `most` of its calls, and return them. Each has to come to the same end."""
    given = Range(victim, stage)
    reference, calls = given.undisturbed()
    ats = range(1, calls + 1, every)
    ats = sorted(drawn.sample(ats, min(most, len(ats))))
    strikes = list(given.strikes(action, reference, ats))
    assert len(strikes) > 0.8 * len(ats)  # a stage makes some calls more in one run than in another
    assert [str(strike) for strike in strikes if strike.differs or strike.torn] == []
    if action == "error":  # one in a file that matters to nobody may pass, all others are told in one line
        assert [strike for strike in strikes if strike.code not in (0, 1)] == []
        silent = [
            strike for strike in strikes if strike.code and not re.search(r"^error: \S", strike.said, re.MULTILINE)
        ]
        assert [strike for strike in strikes if "Traceback" in strike.said] + silent == []
    else:
        assert [str(strike) for strike in strikes if strike.code != KILLED] == []
    return strikes


@pytest.mark.row("R2.4")
@pytest.mark.parametrize("action", ["error", "exit"])
def test_a_stage_survives_what_fails_at_a_few_of_its_calls(victim: Victim, action: str) -> None:
    drawn = random.Random(action)  # noqa: S311 - it is no secret
    assert len(struck(victim, "prepare", action, SAMPLE, drawn)) == SAMPLE


@pytest.mark.nightly
@pytest.mark.row("R2.4")
@pytest.mark.parametrize("action", ["error", "exit"])
@pytest.mark.parametrize("stage", STRIDES)
def test_a_stage_survives_what_fails_at_any_of_its_calls(victim: Victim, stage: str, action: str) -> None:
    assert len(struck(victim, stage, action, POINTS, dice(stage + action), STRIDES[stage])) > 3


@pytest.mark.row("R2.8")
def test_what_a_stage_has_written_outlasts_a_loss_of_power_right_after_it(victim: Victim) -> None:
    outlasts(victim, "prepare", range(3))


@pytest.mark.nightly
@pytest.mark.row("R2.8")
@pytest.mark.parametrize("stage", STAGES)
def test_what_any_stage_has_written_outlasts_a_loss_of_power_right_after_it(victim: Victim, stage: str) -> None:
    outlasts(victim, stage, dice(f"power after {stage}").sample(range(NEVER), 4))


def outlasts(victim: Victim, stage: str, seeds: Sequence[int]) -> None:
    given = Range(victim, stage)
    reference, _ = given.undisturbed()
    assert {seed: torn for seed in seeds if (torn := given.torn_after(reference, seed))} == {}
    given.undisturbed()  # whole again, for other tests


@pytest.mark.nightly
@pytest.mark.row("R2.8")
@pytest.mark.parametrize("stage", ["fetch", "train"])  # which leave something that the next run goes on from
def test_a_stage_goes_on_from_what_a_loss_of_power_has_left(victim: Victim, stage: str) -> None:
    strikes = struck(victim, stage, "power", LOSSES // 2, dice(f"{stage} without power"))
    assert len(strikes) > 3
    # A checkpoint is there from the first step on, and whole when the next run goes by it.
    assert stage != "train" or [strike for strike in strikes if "going on from step 1" in strike.then]
