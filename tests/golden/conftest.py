from functools import cache
from pathlib import Path

import pytest

from tests.golden.families import write_family


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """A function from a family's name to the folder of its template and tokenizer."""
    folder = tmp_path_factory.mktemp("families")

    @cache
    def made(name: str) -> Path:
        return write_family(name, folder / name)

    return made
