"""Few files open at once, few processes, one processor: the same bytes."""

import os

import pytest

from tests.environment.copied import STAGES
from tests.faults.disk import descriptor_limit
from tests.laws.outputs import different, outputs

pytestmark = [pytest.mark.row("R3.11"), pytest.mark.slow, pytest.mark.nightly]
PROCESSES = 64  # of this user besides those at work already; threads count as processes


def one_processor() -> list[str]:
    return ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]


def few_processes() -> list[str]:
    import psutil

    if os.geteuid() == 0:
        pytest.skip("root may start any number of processes")
    mine = [process for process in psutil.process_iter(["uids", "num_threads"]) if process.info["uids"]]
    threads = sum(process.info["num_threads"] or 0 for process in mine if process.info["uids"].real == os.getuid())
    return ["prlimit", f"--nproc={threads + PROCESSES}"]


LIMITS = {"files": lambda: descriptor_limit(64), "processes": few_processes, "processor": one_processor}


@pytest.mark.parametrize("name", LIMITS)
def test_a_build_with_little_gives_the_same_bytes(built, copied, name):
    limit = LIMITS[name]()
    copied.forget(*STAGES)
    copied.run(*limit, "dvc", "repro", "--force")
    assert different(outputs(copied.folder), outputs(built.folder)) == []
