"""Another clock for a command: years away, or jumping while it runs, by hours forth and back and to 1970.

python tests/faults/clock.py SECONDS FOLDER COMMAND …   # by a clock so far ahead; a small library goes into FOLDER

Not libfaketime: its 0.9.10 fails in every `time.sleep` of Python 3.11 (EINVAL), or sleeps for the years that lie
between. Only what asks for the date is moved here. Waiting goes by the monotonic clock, which nobody sets, and the
times of files are as they are.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

HOUR = 3600
PAUSE_SECONDS = 0.05
# CLOCK_SHIFT holds the seconds, or CLOCK_FILE the name of the file that does.
SOURCE = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    const char *seconds = getenv("CLOCK_SHIFT"), *name = getenv("CLOCK_FILE");
    char told[32] = "0";
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        ssize_t size = read(file, told, sizeof told - 1);
        told[size > 0 ? size : 0] = 0;
        close(file);
    }
    return atol(seconds ? seconds : told);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift();
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


def compiled(folder: Path) -> Path:
    """Return the library that moves the clock of whatever loads it first, written to `folder`."""
    library = folder / "clock.so"
    compiler = ["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library)]
    subprocess.run(compiler, input=SOURCE, text=True, check=True)
    return library


def shifts() -> Iterator[int]:
    """Yield seconds to move the clock by, ahead, back and to the first hours of 1970: never the same ones twice."""
    for hours in count(1):
        yield from (hours * HOUR, -hours * HOUR, hours * HOUR - int(time.time()))


@contextmanager
def jumping_clock(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of commands whose clock jumps 20 times a second, by a file in `folder`."""
    told, done = folder / "clock", threading.Event()

    def jump() -> None:
        for seconds in shifts():
            told.with_suffix(".new").write_text(f"{seconds}\n")
            told.with_suffix(".new").replace(told)
            if done.wait(PAUSE_SECONDS):
                return

    library, jumping = compiled(folder), threading.Thread(target=jump)
    jumping.start()
    try:
        yield {"LD_PRELOAD": str(library), "CLOCK_FILE": str(told)}
    finally:
        done.set()
        jumping.join()


def main(seconds: str, folder: str, *command: str) -> None:
    moved = {**os.environ, "CLOCK_SHIFT": seconds, "LD_PRELOAD": str(compiled(Path(folder)))}
    os.execvpe(command[0], command, moved)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
