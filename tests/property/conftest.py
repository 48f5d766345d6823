"""How long one example takes says nothing on a machine that others share, so only wrong results fail.

`make test` tries a few examples of each property, others each time, and `make test-all` ten times as many.
"""

import pytest
from hypothesis import HealthCheck, settings

FEW = 20


def pytest_configure(config: pytest.Config) -> None:
    examples = FEW if config.option.markexpr == "not nightly" else 10 * FEW
    slow = [HealthCheck.too_slow]
    settings.register_profile("shared machine", deadline=None, suppress_health_check=slow, max_examples=examples)
    settings.load_profile("shared machine")
