"""Patience with a server that is busy or restarts: bounded tries, growing pauses."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

MAX_TRIES = 5
MAX_SECONDS = 120.0  # no try begins later than this after the first, and no pause is longer
FIRST_PAUSE_SECONDS = 1.0


class InterruptedRequestError(Exception):
    """A request that may succeed when it is sent again; `wait_seconds` is what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def patiently(
    request: Callable[[], Result],
    *,
    max_seconds: float = MAX_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Send a request until it succeeds. Raises the last InterruptedRequestError after MAX_TRIES or `max_seconds`.

    The pauses double from one second, each shortened at random by up to a half: two exports that met a busy server
    do not meet it again together.
    """
    start, pause = clock(), FIRST_PAUSE_SECONDS
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return request()
        except InterruptedRequestError as error:
            wait = max(pause * random.uniform(0.5, 1.0), error.wait_seconds)  # noqa: S311 - no secret is at stake
            wait = min(wait, MAX_SECONDS)  # uploads and replies may be given hours, but not to sleep through
            if attempt == MAX_TRIES or clock() - start + wait > max_seconds:
                raise
        sleep(wait)
        pause *= 2
    raise AssertionError("unreachable")
