"""Answers side by side, and those that flipped: the pages that stages before wrote, as sections of the report."""

import re
from collections.abc import Iterator

from ollamake.report.document import Facts, Section

SHOWN_FLIPS = 2  # of each kind; models/flips.md has them all
HEADING = re.compile(r"#{2,3} ")


def samples(facts: Facts) -> Section:
    """Return the section with the answers of base and tuned to the same prompts."""
    head, *parts = split_page(facts.samples.replace(facts.base["name"], facts.base_name))
    return Section("Answers side by side", "\n\n".join([_text(head), *map(_below, parts)]))


def flips(facts: Facts) -> Section:
    """Return the section with what got better and worse, and the largest changes of each kind."""
    head, *parts = split_page(facts.flips)
    rest = "The largest changes of each kind; models/flips.md has more." if parts else ""
    return Section("What got better, what got worse", "\n\n".join([_text(head), rest, *map(_below, _first(parts))]))


def _first(parts: list[str]) -> Iterator[str]:
    """Yield each `##` heading with the first few `###` parts below it."""
    shown = 0
    for part in parts:
        shown = shown + 1 if part.startswith("### ") else 0
        if shown <= SHOWN_FLIPS:
            yield part


def split_page(page: str) -> list[str]:
    """Return what stands before the first `##` or `###` heading, and each such heading with what follows it."""
    parts, fence = [""], ""
    for line in page.split("\n"):
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = "`" * (len(line) - len(line.lstrip("`")))
        elif HEADING.match(line):
            parts.append("")
        parts[-1] += f"{line}\n"
    return parts


def _text(head: str) -> str:
    """Return what follows the title of the page."""
    return head.partition("\n")[2].strip()


def _below(part: str) -> str:
    """Return the part with a heading one level down: the section has one above it."""
    return f"#{part.rstrip()}"
