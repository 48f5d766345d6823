"""docs/reliability.md shows every row of the acceptance matrix, and names the tests that stand for it and no others."""

import ast
import re
from collections import defaultdict
from functools import cache

import pytest

from tests.bad_input.verdicts import VERDICTS
from tests.contract.graph import ROOT

PAGE = ROOT / "docs/reliability.md"
LINE = re.compile(r"^\| (R\d(?:\.\d+)?) \|(.*)\|$", re.MULTILINE)
FILE = re.compile(r"`(tests/[\w/]+\.py)`")
GROUPS = {1: 10, 2: 10, 3: 11, 4: 10, 6: 10}
ROWS = [*(f"R{group}.{number}" for group, count in GROUPS.items() for number in range(1, count + 1)), "R5"]


@cache
def shown() -> dict[str, str]:
    found = LINE.findall(PAGE.read_text())
    assert len(found) == len(dict(found)), "a row stands twice"
    return dict(found)


@cache
def marked() -> dict[str, set[str]]:
    """The files of the tests that carry `row("R1.1")`, by row; those of bad inputs carry the input's number instead."""
    files = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="row"), args=[ast.Constant(value=row), *more]):
                    assert not more, f"{file}: one row a mark"
                    files[row].add(str(file.relative_to(ROOT)))
                case ast.Call(func=ast.Attribute(attr="r5")):
                    files["R5"].add(str(file.relative_to(ROOT)))
    return files


def test_every_row_of_the_matrix_is_shown_once_and_no_other():
    assert sorted(shown()) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_the_files_of_the_tests_that_stand_for_it(row):
    named, real = set(FILE.findall(shown()[row])), marked()[row]
    assert named == real
    assert named or "`python -m benchmarks." in shown()[row], "nothing stands for it"


def test_no_test_stands_for_a_row_that_does_not_exist():
    assert set(marked()) <= set(ROWS)


def test_the_bad_inputs_are_shown_with_their_verdicts():
    listed = re.findall(r"^\| (\d+) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [(int(number), what, verdict.replace("\\|", "|")) for number, what, verdict in listed] == [
        (number, what, verdict) for number, (what, verdict) in VERDICTS.items()
    ]
