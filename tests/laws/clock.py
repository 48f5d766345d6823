"""Runs a command by another clock: python tests/laws/clock.py DAYS FOLDER COMMAND …

FOLDER takes the small library that moves the clock. Not libfaketime: its 0.9.10 fails in every `time.sleep` of
Python 3.11 (EINVAL), or sleeps for the years that lie between. Only what asks for the date is moved here; waiting goes
by the clock that nobody sets.
"""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    const char *days = getenv("CLOCK_DAYS");
    if (!failed && clock == CLOCK_REALTIME && days) now->tv_sec += 86400L * atol(days);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *kept) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (kept) *kept = exact.tv_sec;
    return exact.tv_sec;
}
"""


def main(days: str, folder: str, *command: str) -> None:
    library = Path(folder) / "clock.so"
    compiler = ["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library)]
    subprocess.run(compiler, input=SOURCE, text=True, check=True)
    os.execvpe(command[0], command, {**os.environ, "CLOCK_DAYS": days, "LD_PRELOAD": str(library)})  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
