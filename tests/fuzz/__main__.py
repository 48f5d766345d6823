"""python -m tests.fuzz TARGET SEED FIRST COUNT: give a target the inputs of a seed, and say what became of them.

Each input has 5 seconds of this process's time, and ten minutes of the clock where it waits for something, after which
the system ends it. The file named in OLLAMAKE_FUZZ_AT holds the number of the input that is being worked on, for
whoever has to say at which one that was.
"""

import json
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS

SECONDS, BLOCKED_SECONDS, MEMORY_BYTES = 5, 600, 4 << 30


def main(target: str, seed: int, first: int, count: int) -> None:
    """Print how many inputs had which fate, as JSON. What a target raises goes through, with its number."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ends in (signal.SIGPROF, signal.SIGALRM):  # a handler of Python's would wait for the C code that hangs
        signal.signal(ends, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
    fates: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        give = TARGETS[target](Path(folder))
        give(seed, first)  # imports whatever it needs, outside the clock
        for number in range(first, first + count):
            _say(number)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)  # the other clock stands while it waits
            try:
                fates += give(seed, number)
            except BaseException as error:
                error.add_note(f"again: python -m tests.fuzz {target} {seed} {number} 1")
                raise
        for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(clock, 0)
    json.dump(fates, sys.stdout)


def _say(number: int) -> None:
    if "OLLAMAKE_FUZZ_AT" in os.environ:
        Path(os.environ["OLLAMAKE_FUZZ_AT"]).write_text(str(number))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
