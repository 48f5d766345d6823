"""A clock that jumps while a stage runs changes no byte and no duration."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment.copied import STAGES
from tests.faults.clock import jumping_clock

MEASURED = ("train", "baseline", "evaluate", "convert")  # whose metrics tell how long they took


@pytest.fixture
def jumping(tmp_path: Path) -> Iterator[dict[str, str]]:
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    with jumping_clock(tmp_path) as env:
        yield env


def numbers(value: object, *kinds: str) -> Iterator[float]:
    """Yield the numbers in a metrics file whose names end in one of the kinds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, int | float) and key.endswith(kinds):
                yield inner
            yield from numbers(inner, *kinds)


def test_the_clock_of_a_command_does_jump(jumping):
    code = "import time; times = set()\nwhile len(times) < 3: times.add(round(time.time() / 3600))"
    subprocess.run([sys.executable, "-c", code], env=jumping, check=True, timeout=60)


@pytest.mark.row("R3.7")
@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [stage if stage == "baseline" else pytest.param(stage, marks=pytest.mark.nightly) for stage in STAGES],
)
def test_a_stage_writes_the_same_bytes_and_no_duration_longer_than_it_took(copied, jumping, stage):
    expected = copied.digests(stage)
    copied.forget(stage)
    started = time.monotonic()  # by a clock that does not jump
    copied.run(sys.executable, "-m", f"stages.{stage}", **jumping)
    took = time.monotonic() - started
    assert copied.digests(stage) == expected
    metrics = copied.metrics(stage) if f"metrics/{stage}.json" in expected else {}
    durations, others = list(numbers(metrics, "seconds")), list(numbers(metrics, "per_second", "memory_mb"))
    assert all(0 <= seconds <= took for seconds in durations), (durations, took)
    assert all(number >= 0 for number in others), others
    assert durations or stage not in MEASURED
