"""A copy of the tiny project of tests/pipeline, to be killed in."""

import shutil
from collections.abc import Iterator

import pytest

from tests.faults.kills import Victim
from tests.pipeline.conftest import Project, built
from tests.standin import running

__all__ = ["built"]


@pytest.fixture(scope="session")
def victim(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A copy of the project after its first build, with a stand-in for Ollama that serves its model."""
    folder = tmp_path_factory.mktemp("killed") / "a project"
    shutil.copytree(built.folder, folder, symlinks=True)
    with running(folder.with_name("server")) as server:
        victim = Victim(Project(folder), server.url)
        victim.build()
        yield victim
