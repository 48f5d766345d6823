"""`data check`: every finding about the rows of a file or a folder, as they are read, without building anything."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Console
from rich.style import Style

from ollamake.data.findings import Finding
from ollamake.errors import DataError
from ollamake.look.visible import on_one_line

REJECTED = "rejected"
STYLES = {REJECTED: Style(color="red", bold=True), "repaired": Style(color="yellow")}
FAINT = Style(dim=True)


@dataclass
class Tally:
    """How often each (verdict, reason) was found, of what kinds the usable rows are, and what could not be read."""

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    unreadable: list[DataError] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """How many rows cannot be used."""
        return sum(count for (verdict, _), count in self.reasons.items() if verdict == REJECTED)

    @property
    def failed(self) -> bool:
        """Whether a row or a file cannot be used."""
        return bool(self.rejected or self.unreadable)


def check(path: Path, shape: str, limit: int) -> bool:
    """Print the findings to stdout, their sum to stderr; return whether a row or a file cannot be used.

    `path` is a file, or a folder whose data files are all checked; `shape` is a row_shape; at most `limit` findings
    are printed, all if it is 0. Raises DataError when nothing there can be read.
    """
    from ollamake.data.formats.listing import list_files

    files = list_files(path)
    tally, colours = Tally(), Console().color_system is not None
    for finding in _findings(files, shape, tally):
        tally.reasons[finding.verdict, finding.reason] += 1
        if not limit or tally.reasons.total() <= limit:
            typer.echo(line(finding, colours=colours))
    if tally.unreadable and len(files) == 1:
        raise tally.unreadable[0]
    for text in summary(tally, str(path), len(files), limit):
        typer.echo(text, err=True)
    return tally.failed


def _findings(files: Iterable[Path], shape: str, tally: Tally) -> Iterator[Finding]:
    """Yield the findings of every file; one that cannot be read does not keep the others from being checked."""
    from ollamake.data.records import findings_of

    for file in files:
        try:
            yield from findings_of(file, shape, tally.kinds)
        except DataError as error:
            tally.unreadable.append(error)


def line(finding: Finding, *, colours: bool) -> str:
    """Return `file:line: verdict: reason (detail)`, and the beginning of a rejected row under it."""
    place = finding.place
    number = f":{place.number}" if place.unit == "line" else f", {place.unit} {place.number}"
    detail = f" ({on_one_line(finding.detail)})" if finding.detail else ""
    verdict = STYLES.get(finding.verdict, FAINT).render(finding.verdict) if colours else finding.verdict
    text = f"{on_one_line(place.file)}{number}: {verdict}: {on_one_line(finding.reason)}{detail}"
    if finding.verdict != REJECTED or not finding.excerpt:
        return text
    excerpt = f"    {on_one_line(finding.excerpt)}"
    return f"{text}\n{FAINT.render(excerpt) if colours else excerpt}"


def summary(tally: Tally, path: str, files: int, limit: int) -> Iterator[str]:
    """Yield what was found in all, the last line being the sum."""
    yield from map(str, tally.unreadable)
    if limit and tally.reasons.total() > limit:
        yield f"{tally.reasons.total() - limit:,} more not listed"
    ranked = sorted(tally.reasons.items(), key=lambda pair: (pair[0][0] != REJECTED, -pair[1]))
    yield from (f"{count:>9,} × {verdict}: {on_one_line(reason)}" for (verdict, reason), count in ranked)
    if tally.kinds:
        yield f"usable: {', '.join(f'{count:,} × {kind}' for kind, count in tally.kinds.most_common())}"
    repairs = tally.reasons.total() - tally.rejected
    sums = {
        f"row{'' if tally.rejected == 1 else 's'} rejected": tally.rejected,
        f"repair{'' if repairs == 1 else 's'}": repairs,
        f"of {files} files cannot be read": len(tally.unreadable),
    }
    found = ", ".join(f"{count:,} {what}" for what, count in sums.items() if count)
    yield f"{on_one_line(path)}: {found or 'nothing is wrong'}"
