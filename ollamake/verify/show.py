"""What was verified, on a screen: a line for each part, then every flaw with its remedy."""

from collections.abc import Iterator
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ollamake.verify.part import Flaw, Result

MIN_SECONDS = 0.01  # a speed measured in less says nothing


def show(results: list[Result], console: Console) -> None:
    """Print the table and the flaws; what goes into a file is not broken into lines of a screen's width."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    for column in ("files", "MB read", "MB/s"):
        table.add_column(column, justify="right")
    table.add_column("")
    for result in results:
        table.add_row(*_row(result))
    console.print(table)
    flaws = [flaw for result in results for flaw in result.flaws]
    for line in _lines(flaws):
        console.print(line, soft_wrap=True)
    console.print(_summary(results, len(flaws)), soft_wrap=True)


def _row(result: Result) -> tuple[str, ...]:
    part = result.part
    if part.skipped:
        return part.name, "", "", "", f"– skipped: {part.skipped}"
    megabytes = result.read_bytes / 1e6
    speed = f"{megabytes / result.seconds:,.0f}" if result.seconds >= MIN_SECONDS and megabytes >= 1 else ""
    verdict = f"✗ {len(result.flaws)} altered" if result.flaws else "✓"
    return part.name, f"{len(part.files)}", f"{megabytes:,.1f}", speed, "; ".join(filter(None, (verdict, part.note)))


def _lines(flaws: list[Flaw]) -> Iterator[str]:
    """Yield each flaw, and under those that one remedy mends that remedy, once."""
    for remedy, found in groupby(flaws, key=lambda flaw: flaw.remedy):
        for flaw in found:
            yield f"✗ {flaw.where}: {flaw.what}"
        yield f"  → {remedy}"


def _summary(results: list[Result], flaws: int) -> str:
    files = sum(len(result.part.files) for result in results)
    seconds, read = sum(result.seconds for result in results), sum(result.read_bytes for result in results) / 1e6
    rate = f" ({read / seconds:,.0f} MB/s)" if seconds >= MIN_SECONDS else ""
    if not files and not flaws:
        return "nothing was verified: there is nothing here yet"
    altered = f"{flaws} of them not what was recorded" if flaws else "all as recorded"
    return f"{files} files, {read:,.1f} MB in {seconds:.1f} s{rate}: {altered}"
