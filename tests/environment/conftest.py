"""A copy of the built project for each test, to break things in."""

import shutil
from pathlib import Path

import pytest

from tests.environment.copied import Copied
from tests.pipeline.conftest import Project, built

__all__ = ["built"]


@pytest.fixture
def copied(built: Project, tmp_path: Path) -> Copied:
    """A copy of the built project with a cache and a store of its own."""
    return Copied(copy_of(built, tmp_path / "copied"))


def copy_of(project: Project, folder: Path) -> Path:
    shutil.copytree(project.folder, folder, symlinks=True, dirs_exist_ok=True)
    return folder
