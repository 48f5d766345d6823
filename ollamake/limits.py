"""Limits of time and memory for short work in this process, such as one rendering of a stranger's template."""

import os
import resource
import signal
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# Of the processor's time, and of memory beyond what is held. The longest row, of 16 MB, takes a tenth of each.
SECONDS, ADDED_BYTES = 3, 1 << 30
HELD = Path("/proc/self/statm")


class OutOfTimeError(BaseException):
    """The time is over. Not an Exception, because Jinja catches those in some places and goes on."""


def within_limits(work: Callable[[], Result]) -> Result:
    """Return what `work` does. Raises OutOfTimeError after SECONDS to twice that, MemoryError beyond ADDED_BYTES.

    Only the main thread has a limit of time, because Python hands signals to no other; and only Linux one of memory.
    """
    limits = _of((os.getpid(), threading.get_ident()))  # a forked process has the thread's number, but not its clock
    try:
        return limits.keep(work)
    except (MemoryError, SystemError):
        # What was held when it was last measured may be less than what is held now. Python 3.11 says SystemError where
        # it gets no memory for a call itself.
        limits.measure()
        return limits.keep(work)


@cache
def _of(place: tuple[int, int]) -> "_Limits":
    return _Limits(timed=place[1] == threading.main_thread().ident)


class _Limits:
    """Those of one thread. A clock ends work in the course of which it ticks twice.

    It goes on ticking, for nothing, until no work is under way: to set it each time would cost a rendering a twentieth.
    Memory is measured when it begins to tick, for the same reason.
    """

    def __init__(self, *, timed: bool) -> None:
        self._timed, self._ticking, self._working, self._number, self._seen = timed, False, False, 0, 0
        self._usual = self._limited = resource.getrlimit(resource.RLIMIT_AS)
        if timed:
            signal.signal(signal.SIGVTALRM, self._tick)
            signal.siginterrupt(signal.SIGVTALRM, False)

    def measure(self) -> None:
        """Count the memory to come from what is held now."""
        if HELD.exists():
            held_bytes = int(HELD.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            known = [limit for limit in self._usual if limit != resource.RLIM_INFINITY]
            self._limited = min([held_bytes + ADDED_BYTES, *known]), self._usual[1]

    def keep(self, work: Callable[[], Result]) -> Result:
        """Do the work within the limits."""
        self._begin()
        try:
            resource.setrlimit(resource.RLIMIT_AS, self._limited)
            return work()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, self._usual)
            self._working = False

    def _begin(self) -> None:
        self._number += 1
        self._working = True
        if not self._ticking:
            self.measure()
            if self._timed:
                self._ticking = True
                signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, SECONDS)

    def _tick(self, *_: object) -> None:
        if not self._working:
            self._ticking = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        elif self._number == self._seen:
            raise OutOfTimeError
        self._seen = self._number
