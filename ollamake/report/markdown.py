"""Pieces of Markdown, from texts of any content: what is not ours is shown as it is and has no effect."""

import re
from collections.abc import Iterable, Sequence

# Control characters as the pictures that Unicode has of them: a terminal that shows the page obeys none.
_PICTURES = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}
_MARKS = re.compile(r"([\\`*_<>\[\]#~&])")


def plain(text: str) -> str:
    """Return the text on one line, with every mark of Markdown and HTML escaped."""
    return _MARKS.sub(r"\\\1", _on_one_line(text))


def code(text: str) -> str:
    """Return the text on one line as code."""
    line = _on_one_line(text)
    fence = "`" * (1 + _longest_run(line))
    gap = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{gap}{line}{gap}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table of cells that are Markdown already; all but the first `left` columns hold numbers."""
    rule = ["---" if place < left else "---:" for place in range(len(head))]
    # A pipe would end its cell, in code too.
    lines = (" | ".join(cell.replace("|", r"\|") for cell in cells) for cells in (head, rule, *rows))
    return "\n".join(f"| {line} |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {line}" for line in lines)


def commands(*lines: str) -> str:
    """Return commands for a shell in a fence."""
    fence = "`" * max(3, 1 + _longest_run("\n".join(lines)))
    return "\n".join([f"{fence}sh", *lines, fence])


def _longest_run(text: str) -> int:
    """Return the length of the longest run of backticks: code ends at one as long as that it began with."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _on_one_line(text: str) -> str:
    return " ".join(text.split()).translate(_PICTURES)
