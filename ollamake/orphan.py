"""The end of a stage whose `dvc` has gone before it.

Killed alone, `dvc` leaves its stage running, and the next `dvc repro` starts a second one that writes the same files.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

# The folder to which the processes of one training write what they say last; not set in those started by hand.
LAST_WORDS = "OLLAMAKE_LAST_WORDS"
CHECK_SECONDS = 1.0
# What a stage gets to end in, such as for a last checkpoint, before it is ended for good.
PATIENCE_SECONDS = 90.0


def end_with_dvc() -> None:
    """Watch the processes between this one and `dvc` in the background, and send this one SIGTERM when one is gone.

    Does nothing outside of dvc, nor in one of several processes, which end with the one that started them. Costs a
    thread that sleeps: what it needs is imported after its first second.
    """
    if "DVC_STAGE" in os.environ and LAST_WORDS not in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), name="end-with-dvc", daemon=True).start()


def _watch(parent: int) -> None:
    time.sleep(CHECK_SECONDS)
    links = links_to_dvc()
    while os.getppid() == parent and unbroken(links):
        time.sleep(CHECK_SECONDS)
    with suppress(OSError):  # nobody may be reading any more
        print("error: dvc has ended, and so does this stage", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def links_to_dvc() -> list[tuple[int, int]]:
    """Return (process, parent) for each step up from here to `dvc`: a shell or a launcher may stand between.

    `dvc` is the first one up whose environment does not name this stage. Empty where another user's process stands
    between, whose environment cannot be read. Where `dvc` had gone before this was asked, one link that does not hold.
    """
    import psutil

    process, links = psutil.Process(), []
    with suppress(psutil.Error, OSError):
        while parent := process.parent():
            links.append((process.pid, parent.pid))
            if not _names_this_stage(parent):
                return [(process.pid, 0)] if _has_adopted(parent) else links
            process = parent
    return []


def _names_this_stage(process: Any) -> bool:
    import psutil

    try:
        return bool(process.environ().get("DVC_STAGE") == os.environ["DVC_STAGE"])
    except psutil.AccessDenied:
        if process.pid == 1:  # the system's own, which is not this user's
            return False
        raise


def _has_adopted(parent: Any) -> bool:
    """Tell whether `parent` is no `dvc` but the system's process that orphans are given to."""
    elsewhere = os.getsid(parent.pid) != os.getsid(0)
    return elsewhere and not any("dvc" in word for word in parent.cmdline())


def unbroken(links: list[tuple[int, int]]) -> bool:
    """Tell whether every process still has the same parent: it gets another one at the moment when that ends."""
    import psutil

    try:
        return all(psutil.Process(process).ppid() == parent for process, parent in links)
    except psutil.Error:
        return False
