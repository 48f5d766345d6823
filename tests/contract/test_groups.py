"""Tests that share a built project run in one process: pytest and pytest-xdist have to agree on how that is said."""

import pytest


@pytest.mark.xdist_group("contract")
def test_a_process_that_runs_tests_for_others_knows_their_groups(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("only `pytest --numprocesses N --dist loadgroup`, as in `make test`, has groups")
    assert request.node.nodeid.endswith("@contract")
