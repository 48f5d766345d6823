"""How often a night tries what is drawn by chance (`make test-all`), and how often the time before a release does.

OLLAMAKE_TEST_COUNTS=release python -m pytest -m nightly tests/crash/test_kills.py
OLLAMAKE_TEST_SEED=2026-11-22 python -m pytest -m nightly ...     # the instants and edits of that night again

Every night draws others, so that nights add up.
"""

import os
import random
from datetime import UTC, datetime

os.environ.setdefault("OLLAMAKE_TEST_SEED", datetime.now(UTC).date().isoformat())  # the same in all processes
SEED = os.environ["OLLAMAKE_TEST_SEED"]
RELEASE = os.environ.get("OLLAMAKE_TEST_COUNTS") == "release"


def times(night: int, *, release: int) -> int:
    """Return how often something is tried now; `release` is what the acceptance matrix asks for."""
    return release if RELEASE else night


def dice(name: object) -> random.Random:
    """Return what draws the instants of `name` in this night."""
    return random.Random(f"{SEED}/{name}")  # noqa: S311 - it is no secret
