"""Tests that share a built project run in one process: pytest and pytest-xdist have to agree on how that is said."""

import re
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_number(number):
    pass
"""


def test_tests_of_one_group_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_grouped.py").write_text(TESTS)
    pytest = [sys.executable, "-m", "pytest", "--verbose", "--numprocesses", "2", "--dist", "loadgroup"]
    said = subprocess.run(pytest, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert len(processes := re.findall(r"\[(gw\d)\].* PASSED", said)) == 8, said
    assert len(set(processes)) == 1, said
