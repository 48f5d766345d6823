"""Work on a stream of pieces with every core: flat memory, and results in the order of the pieces."""

import ctypes
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from ollamake.errors import OllamakeError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# Starting the workers costs about half a second, which so many pieces of some megabytes are worth.
WORTH_STARTING = 8
IN_FLIGHT_PER_WORKER = 2
PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def in_order(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield `work(piece)` for every piece, in their order, computed by one process for each core.

    `work`, the pieces and the results are pickled; `work` once for each worker. A few pieces, or a single core, are
    worked on in this process. At most two pieces for each worker are held at a time. Errors are raised as they come.
    """
    count = cores() if workers is None else workers
    stream = iter(pieces)
    first = list(islice(stream, WORTH_STARTING))
    if count == 1 or len(first) < WORTH_STARTING:
        yield from map(work, chain(first, stream))
        return
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_start, initargs=(work,))
    try:
        waiting: deque[Future[Any]] = deque()
        for piece in chain(first, stream):
            waiting.append(pool.submit(_run, piece))
            if len(waiting) >= IN_FLIGHT_PER_WORKER * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OllamakeError(
            "a worker process was ended from outside, as happens when memory runs out",
            hint="close what else uses memory, then `dvc repro`; `dmesg | tail` names what the kernel ended",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_work: Callable[[Any], Any]


def _start(work: Callable[[Any], Any]) -> None:
    """Set a worker up: it ends with its parent, even a killed one, and leaves Ctrl-C to it."""
    global _work  # noqa: PLW0603 - what a worker is for, once in its life
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work = work


def _run(piece: Any) -> Any:
    return _work(piece)
