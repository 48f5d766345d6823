"""Limits of time and memory for short work in this process, such as one rendering of a stranger's template."""

import atexit
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
# Asked for once: a thread that asked while another one works would take that one's limit for the usual one.
USUAL = resource.getrlimit(resource.RLIMIT_AS)


class OutOfTimeError(BaseException):
    """The time is over. Not an Exception, because Jinja catches those in some places and goes on."""


def within_limits(work: Callable[[], Result]) -> Result:
    """Return what `work` does. Raises OutOfTimeError after SECONDS to twice that, MemoryError beyond ADDED_BYTES.

    Only the main thread has a limit of time, because Python hands signals to no other; and only Linux one of memory.
    """
    clock = _clock_of(os.getpid(), threading.get_ident())  # a forked process has the thread's number, but not its clock
    clock.begin()
    try:
        _limit(os.getpid())
        return work()
    except SystemError as error:  # Python 3.11 says so where it gets no memory for a call itself
        raise MemoryError from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, USUAL)
        clock.end()


def _limit(process: int) -> None:
    """Limit memory, counted from what is held now: libraries that were loaded since the last time take gigabytes."""
    if (held := _held(process)) is not None:
        held_bytes = int(os.pread(held, 32, 0).split(maxsplit=1)[0]) * resource.getpagesize()
        known = [limit for limit in USUAL if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([held_bytes + ADDED_BYTES, *known]), USUAL[1]))


@cache
def _held(_process: int) -> int | None:
    """Open what the system says of this process, to be read at every rendering: it costs a hundredth of one so."""
    return os.open(HELD, os.O_RDONLY) if HELD.exists() else None


@cache
def _clock_of(_process: int, thread: int) -> "_Clock":
    return _Clock(works=thread == threading.main_thread().ident)


class _Clock:
    """Ends work in the course of which it ticks twice.

    It goes on ticking, for nothing, until no work is under way: to set it each time would cost a rendering a twentieth.
    """

    def __init__(self, *, works: bool) -> None:
        self._works, self._ticking, self._working, self._number, self._seen = works, False, False, 0, 0
        if works:
            signal.signal(signal.SIGVTALRM, self._tick)
            signal.siginterrupt(signal.SIGVTALRM, False)
            # Python ends by forgetting its handlers: a tick after that would end a process that has done its work.
            atexit.register(signal.setitimer, signal.ITIMER_VIRTUAL, 0)

    def begin(self) -> None:
        """Count the time of a piece of work."""
        self._number += 1
        self._working = True
        if self._works and not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, SECONDS)

    def end(self) -> None:
        """Count no more."""
        self._working = False

    def _tick(self, *_: object) -> None:
        if not self._working:
            self._ticking = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        elif self._number == self._seen:
            raise OutOfTimeError
        self._seen = self._number
