"""A disk that has less room than a stage needs: told, nothing half-written, and well again once it has grown."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.counts import times
from tests.environment.conftest import copy_of
from tests.environment.copied import STAGES, Copied
from tests.faults.disk import Disk, UnavailableError, most_used, small_disk
from tests.pipeline.conftest import Project

SIZES = times(4, release=20)
ROOMY = 1 << 30
SCANT = 64 << 10  # less than three checkpoints of the tiny adapter
NEED = re.compile(r"(?m)^error: \S.* needs [\d,]+ MB, [\d,]+ MB are free\nhint: free some space")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(small_disk(tmp_path / "disk", ROOMY))
        except UnavailableError as reason:
            pytest.skip(str(reason))


@pytest.fixture
def on_disk(built: Project, disk: Disk) -> Copied:
    """The project on a disk of its own, its cache and its store with it."""
    return Copied(copy_of(built, disk.folder / "project"))


@pytest.mark.row("R3.1")
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "convert"])
def test_need_and_room_are_told_before_the_work_of_the_stages_that_write_most(on_disk, disk, stage):
    on_disk.forget(stage)
    disk.resize(disk.used_bytes + SCANT)
    failed = on_disk.run(sys.executable, "-m", f"stages.{stage}", ok=False)
    disk.resize(ROOMY)
    assert failed.returncode == 1
    assert NEED.search(failed.stderr), failed.stderr
    assert on_disk.digests(stage) == {}
    assert on_disk.partials() == []


@pytest.mark.row("R3.1")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_on_a_disk_of_any_size_fails_cleanly_and_gives_the_same_bytes_once_it_has_grown(on_disk, disk, stage):
    need, expected = measure(on_disk, disk, stage)
    failures = 0
    for step in range(1, SIZES + 1):
        failures += run_with(on_disk, disk, stage, need * step // SIZES, expected)
        assert on_disk.digests(stage) == expected
    assert failures
    print(f"{stage}: needs {need:,} bytes; {failures} of {SIZES} sizes failed, cleanly")


def measure(project: Copied, disk: Disk, stage: str) -> tuple[int, dict[str, str]]:
    """Return how much room a stage takes at most, DVC's cache included, and the digests of what it writes."""
    project.forget(stage)
    before = disk.used_bytes
    with most_used(disk) as most:
        assert project.repro("--single-item", stage) == [stage]
    return most[0] - before, project.digests(stage)


def run_with(project: Copied, disk: Disk, stage: str, room: int, expected: dict[str, str]) -> bool:
    """Run a stage with `room` bytes, and again with more if that was not enough; return whether it was not."""
    project.forget(stage)
    disk.resize(disk.used_bytes + room)
    try:
        result = project.run("dvc", "repro", "--single-item", stage, ok=False)
    finally:
        disk.resize(ROOMY)
    if result.returncode == 0:
        return False
    project.require_clean(result, stage, expected)
    project.repro("--single-item", stage)
    return True
