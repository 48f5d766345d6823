"""The bad inputs of the acceptance matrix are all there, each with its verdict."""

import ast

from tests.contract.graph import ROOT

KNOWN = range(1, 62)


def numbers_in(source: str) -> set[int]:
    """The numbers that `pytest.mark.r5(...)` names anywhere in a test file."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    marks = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "r5"]
    return {argument.value for mark in marks for argument in mark.args if isinstance(argument, ast.Constant)}


def test_every_bad_input_has_a_test():
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 50
    found = set().union(*(numbers_in(file.read_text()) for file in files))
    assert sorted(set(KNOWN) - found) == []
    assert sorted(found - set(KNOWN)) == []
