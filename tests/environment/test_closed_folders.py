"""Folders in which nothing can be written: told before any work, or not needed."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.environment.copied import Copied
from tests.faults.disk import UnavailableError, read_only

STAGE = "gate"  # whichever: the check stands before the work


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Close a folder to this user: root heeds no rights, and has a read-only file system instead."""
    if os.geteuid() == 0:
        try:
            with read_only(folder):
                yield
        except UnavailableError as reason:
            pytest.skip(str(reason))
        return
    mode = folder.stat().st_mode
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        yield
    finally:
        folder.chmod(mode)


def times(project: Copied) -> dict[str, int]:
    """When each file was written that the stage writes."""
    return {name: (project.folder / name).stat().st_mtime_ns for name in project.digests(STAGE)}


@pytest.mark.row("R3.3")
@pytest.mark.slow
@pytest.mark.parametrize("name", [".", ".dvc/cache"])
def test_a_closed_repository_or_cache_is_told_before_any_work(copied, name):
    before, written_at = copied.digests(STAGE), times(copied)
    with closed(copied.folder / name):
        told = copied.run(sys.executable, "-m", "ollamake", "check", ok=False)
        failed = copied.run("dvc", "repro", "--force", "--single-item", STAGE, ok=False)
    assert told.returncode == 1
    assert told.stderr.startswith(f"error: {name}")
    assert "nothing can be written there" in told.stderr
    if name == "." and os.geteuid() != 0:  # the folders within it are open, and DVC needs no more
        assert failed.returncode == 0
    else:
        assert failed.returncode == 255
        assert "ead-only file system" in failed.stderr or "nothing can be written there" in failed.stderr
        assert times(copied).items() <= written_at.items()  # DVC may have taken them away; the stage wrote nothing
    assert "Traceback" not in told.stderr + failed.stderr
    assert copied.digests(STAGE).items() <= before.items()
    copied.repro("--single-item", STAGE)
    assert copied.digests(STAGE) == before


@pytest.mark.row("R3.3")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("name", ["HF_HOME", "TMPDIR"])
def test_stages_do_without_the_home_of_the_hub_and_the_temporary_folder(copied, tmp_path, name):
    expected = copied.digests("train", "convert")
    copied.forget("train", "convert")
    (tmp_path / name).mkdir()
    with closed(tmp_path / name):
        copied.run("dvc", "repro", "--single-item", "train", "convert", **{name: str(tmp_path / name)})
    assert copied.digests("train", "convert") == expected
