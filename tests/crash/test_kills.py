"""A build, killed with all its processes at a random instant of a stage: the next one ends with the same bytes."""

import pytest

from tests.counts import dice, times
from tests.faults.kills import AFTER_SECONDS, STAGES, Victim

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline"), pytest.mark.row("R2.1")]
KILLS = times(2, release=60)
# Seconds of the one that works in processes of its own, and of the one that runs programs; train is in
# tests/pipeline/test_kill.py.
DIFFERENT = {"tokenize": 3.0, "convert": 9.0}


@pytest.mark.parametrize("stage", DIFFERENT)
def test_killed_at_an_instant_the_build_goes_on_to_the_same_bytes(victim: Victim, stage: str) -> None:
    reference, instant = victim.digests(), dice(stage).uniform(0, DIFFERENT[stage])
    kill = victim.kill(stage, instant, reference)
    while kill.ended:  # a fast machine
        instant /= 2
        kill = victim.kill(stage, instant, reference)
    assert kill.differs == [], kill


@pytest.mark.nightly
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_of_many_instants_of_a_stage_the_build_goes_on_to_the_same_bytes(
    victim: Victim, stage: str
) -> None:
    drawn, took = dice(stage), victim.seconds(stage)
    instants = [drawn.uniform(0, took / 10), *(drawn.uniform(0, took + AFTER_SECONDS) for _ in range(KILLS - 1))]
    reference = victim.digests()
    kills = [victim.kill(stage, instant, reference) for instant in instants]
    assert [str(kill) for kill in kills if kill.differs] == []
    assert not all(kill.ended for kill in kills)  # the first was early enough
