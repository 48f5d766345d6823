"""How far a long computation has come, on stderr: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_SECONDS = 10.0

Advance = Callable[[int], None]


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Yield a function to call with the number of items just done, of `total`."""
    with (_bar if sys.stderr.isatty() else _lines)(title, total) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _lines(title: str, total: int) -> Iterator[Advance]:
    started = said = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            left = (now - started) / done * (total - done)
            print(f"{title}: {done} of {total} after {now - started:.0f} s, about {left:.0f} s left", file=sys.stderr)

    yield advance
