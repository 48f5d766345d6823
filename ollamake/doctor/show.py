"""The findings on a screen, and as JSON."""

import json
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.text import Text

from ollamake.doctor.finding import Finding, Status

MARKS: dict[Status, str] = {"failure": "✗", "warning": "!", "fine": "✓", "skipped": "–"}
COUNTED: dict[Status, str] = {"failure": "to mend", "warning": "to know", "fine": "fine", "skipped": "skipped"}
STYLES: dict[Status, str] = {"fine": "green", "warning": "yellow", "failure": "bold red", "skipped": "dim"}
# Where the terminal knows nothing but ASCII, the setting that one of the findings tells how to change.
PLAIN = str.maketrans({"✗": "X", "✓": "+", "–": "-", "→": ">", "…": ".", "×": "x"})
COMMAND = re.compile("`[^`]*`")
UNBROKEN_SPACE = "\u00a0"
MARGIN = 17


def show(findings: list[Finding], console: Console | None = None) -> None:
    """Print the findings by their groups, each with its hint below, and a line that counts them.

    What goes into a file or another program is not broken into lines of a screen's width.
    """
    console = console or Console()
    width = console.width if console.is_terminal or "COLUMNS" in os.environ else None
    for line in _lines(findings, width):
        if not console.encoding.lower().startswith("utf"):
            line = Text(line.plain.translate(PLAIN).encode("ascii", "replace").decode())  # noqa: PLW2901 - as it can be told
        console.print(line, soft_wrap=True)


def summary(findings: list[Finding]) -> str:
    """Return how many findings there are of each kind, the worst first."""
    counts = Counter(finding.status for finding in findings)
    return ", ".join(f"{counts[status]} {word}" for status, word in COUNTED.items() if counts[status])


def as_json(findings: list[Finding]) -> str:
    """Return the findings as a JSON list of objects: group, check, status, detail, hint."""
    return json.dumps([finding._asdict() for finding in findings], indent=2)


def _lines(findings: list[Finding], width: int | None) -> Iterator[Text]:
    for group, found in groupby(findings, key=lambda finding: finding.group):
        yield Text(group, style="bold")
        for finding in found:
            yield from _finding(finding, width)
    yield Text("")
    yield Text(summary(findings))


def _finding(finding: Finding, width: int | None) -> Iterator[Text]:
    style = STYLES[finding.status]
    said = f"skipped: {finding.detail}" if finding.status == "skipped" else finding.detail
    first, *others = _wrapped(said, width)
    start = Text.assemble((MARKS[finding.status], style), f" {finding.check}".ljust(MARGIN - 1))
    yield start.append(first, style="dim" if finding.status == "skipped" else "")
    for line in others:
        yield Text(" " * MARGIN + line)
    if finding.hint:
        for line in _wrapped(f"→{UNBROKEN_SPACE}{finding.hint}", width):
            yield Text(" " * MARGIN).append(line, style="cyan")


def _wrapped(text: str, width: int | None) -> list[str]:
    """Return the text in lines that fit beside the margin; a command stays whole, for a person to copy."""
    lines = text.splitlines() or [""]
    if width is None:
        return [line.replace(UNBROKEN_SPACE, " ") for line in lines]
    kept = [COMMAND.sub(lambda found: found[0].replace(" ", UNBROKEN_SPACE), line) for line in lines]
    fitting = max(width - MARGIN, 20)
    broken = [
        part for line in kept for part in textwrap.wrap(line, fitting, break_long_words=False, break_on_hyphens=False)
    ]
    return [line.replace(UNBROKEN_SPACE, " ") for line in broken]
