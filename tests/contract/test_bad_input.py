"""The bad inputs of the acceptance matrix are all there, each with its verdict and the tests that hold it."""

import pytest

from tests.bad_input.__main__ import table
from tests.bad_input.verdicts import VERDICTS


@pytest.mark.row("R5")
def test_every_bad_input_has_a_verdict_and_the_table_names_its_tests():
    lines = table().splitlines()[2:]
    cells = [line.replace("\\|", "").strip("| ").split(" | ") for line in lines]
    assert [int(number) for number, *_ in cells] == list(VERDICTS) == list(range(1, 62))
    assert [number for number, _, _, count, tests in cells if not int(count) or "::test_" not in tests] == []
