"""A clock that jumps while a command runs: hours forth and back, and to 1970, as libfaketime (Debian) pretends.

Only the wall clock jumps. The monotonic one does not, as in life, and neither do the times of files.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from tests.faults.disk import UnavailableError

LIBRARY = "faketime/libfaketime.so.1"
FOLDERS = (Path("/usr/lib"), Path("/usr/local/lib"))
JUMPS = ("+3600", "-3600", "@1970-01-01 00:00:10", "+0")
PAUSE_SECONDS = 0.05


@contextmanager
def jumping_clock(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of commands whose clock jumps 20 times a second, by a file in `folder`.

    Raises UnavailableError where libfaketime is not installed.
    """
    library = next((file for root in FOLDERS for file in root.glob(f"**/{LIBRARY}")), None)
    if library is None:
        raise UnavailableError("libfaketime is not installed")
    told, done = folder / "clock", threading.Event()

    def jump() -> None:
        for where in cycle(JUMPS):
            told.with_suffix(".new").write_text(f"{where}\n")
            told.with_suffix(".new").replace(told)
            if done.wait(PAUSE_SECONDS):
                return

    told.write_text("+0\n")
    jumping = threading.Thread(target=jump)
    jumping.start()
    try:
        yield {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(told),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
    finally:
        done.set()
        jumping.join()
