"""File systems of other kinds: in memory, of a container, without links, without large and small letters."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ollamake.files import atomic_folder
from tests.environment.conftest import copy_of
from tests.environment.copied import STAGES, Copied
from tests.faults.disk import UnavailableError, overlay, small_disk
from tests.faults.files import FileFaults
from tests.laws.outputs import different, outputs
from tests.pipeline.conftest import Project

pytestmark = [pytest.mark.row("R3.10"), pytest.mark.slow]
ROOMY = 1 << 30


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def require_same_bytes(built: Project, project: Copied, **env: str) -> None:
    """Build everything anew and compare it with the build on the usual file system."""
    project.forget(*STAGES)
    project.run("dvc", "repro", "--force", **env)
    assert different(outputs(project.folder), outputs(built.folder)) == []


@pytest.mark.nightly
def test_a_build_in_memory_gives_the_same_bytes(built, stack, tmp_path):
    try:
        disk = stack.enter_context(small_disk(tmp_path / "disk", ROOMY))
    except UnavailableError as reason:
        pytest.skip(str(reason))
    require_same_bytes(built, Copied(copy_of(built, disk.folder / "project")))


@pytest.mark.nightly
def test_a_build_on_an_overlay_gives_the_same_bytes(built, stack, tmp_path):
    try:
        scratch = stack.enter_context(small_disk(tmp_path / "scratch", ROOMY))  # one overlay does not lie on another
        merged = stack.enter_context(overlay(copy_of(built, tmp_path / "lower"), scratch.folder / "over"))
    except UnavailableError as reason:
        pytest.skip(str(reason))
    require_same_bytes(built, Copied(merged))


@pytest.mark.nightly
def test_a_build_without_hard_links_gives_the_same_bytes(built, copied, tmp_path):
    try:
        faults = FileFaults.compiled(tmp_path)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    require_same_bytes(built, copied, **faults.environment("no_link", under=[]))
    assert faults.count()  # somebody has asked for one


def test_a_folder_of_a_containers_image_is_replaced(stack, tmp_path):
    (tmp_path / "lower/folder").mkdir(parents=True)
    (tmp_path / "lower/folder/old").write_text("old")
    try:
        scratch = stack.enter_context(small_disk(tmp_path / "scratch", ROOMY))
        merged = stack.enter_context(overlay(tmp_path / "lower", scratch.folder / "over"))
    except UnavailableError as reason:
        pytest.skip(str(reason))
    with pytest.raises(OSError, match="cross-device"):
        (merged / "folder").rename(merged / "elsewhere")
    with atomic_folder(merged / "folder") as partial:
        (partial / "new").write_text("new")
    assert [path.name for path in merged.rglob("*")] == ["folder", "new"]


def test_no_two_outputs_differ_in_large_and_small_letters_only(built):
    names = [path.casefold() for path in outputs(built.folder)]
    tracked = built.run("git", "ls-files").stdout.casefold().split("\n")
    assert len(set(names)) == len(names)
    assert len(set(tracked)) == len(tracked) > 100
