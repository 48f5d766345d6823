"""The bad inputs of the acceptance matrix are all there, each with its verdict and the tests that hold it."""

import pytest

from tests.bad_input.__main__ import Collected, collect, table
from tests.bad_input.verdicts import BAD_INPUTS, VERDICTS

pytestmark = pytest.mark.row("R5")


@pytest.fixture(scope="module")
def collected() -> Collected:
    return collect()


def test_every_bad_input_has_a_verdict_and_the_table_names_its_tests(collected):
    lines = table(collected).splitlines()[2:]
    cells = [line.replace("\\|", "").strip("| ").split(" | ") for line in lines]
    assert [int(number) for number, *_ in cells] == list(VERDICTS) == list(range(1, 62))
    assert [number for number, _, _, count, tests in cells if not int(count) or "::test_" not in tests] == []


def test_the_tests_of_a_bad_input_hold_it_to_the_verdicts_of_the_table_and_to_no_others(collected):
    assert collected.verdicts == {number: set(verdicts) for number, (_, *verdicts) in BAD_INPUTS.items()}
