"""The sheets inside a source distribution, read where they lie: nothing is unpacked to disk."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ollamake.collect.recipe import Package
from ollamake.errors import DataError

SHEETS = {
    "eg": re.compile(r"/eg/examples/([^/]+)\.md$"),
    "cheat": re.compile(r"/cheat/cheatsheets/([^/.]+)$"),
}
LARGEST_SHEET_BYTES = 1 << 20
EG_EXAMPLE = re.compile(r"^(?!#)(\S.*(?:\n\S.*)*)\n+((?: {4}.*\n|\n(?= {4}))+)", re.MULTILINE)
CHEAT_EXAMPLE = re.compile(r"^((?:[ \t]*#.*\n)+)\n?((?:[ \t]*[^#\s].*\n)+)", re.MULTILINE)


class Unusable(Exception):  # noqa: N818 - it is a verdict, not an error
    """An example that makes no pair of one wish and one command; its text is the reason, to be counted."""


@dataclass(frozen=True)
class Example:
    """One example of a sheet: the prose before it, as sentences, and the lines of code."""

    sheet: str
    sentences: tuple[str, ...]
    lines: tuple[str, ...]


def examples(archive: Path, package: Package) -> Iterator[Example]:
    """Yield the examples of every sheet, sheets in alphabetical order. Raises DataError when there are no sheets."""
    parse = {"eg": _eg, "cheat": _cheat}[package.format]
    sheets = dict(sorted(_texts(archive, package)))
    if not sheets:
        raise DataError(
            f"holds no sheets in the format {package.format}",
            where=package.requirement,
            hint=f"its files should match {SHEETS[package.format].pattern}",
        )
    for sheet, text in sheets.items():
        if sheet not in package.skip:
            for sentences, lines in parse(text + "\n"):
                yield Example(sheet, sentences, lines)


def _texts(archive: Path, package: Package) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                found = SHEETS[package.format].search(member.name)
                stream = tar.extractfile(member) if found and member.size <= LARGEST_SHEET_BYTES else None
                if found and stream:
                    yield found[1], stream.read().decode("utf-8")
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as sheets: {error}", where=package.requirement) from error


def _eg(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Markdown: a paragraph, then a block of code that is indented by four spaces."""
    for prose, code in EG_EXAMPLE.findall(text):
        yield _sentences(" ".join(prose.split())), tuple(line[4:].rstrip() for line in code.splitlines() if line)


def _cheat(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Comments, then the lines of code below them."""
    for prose, code in CHEAT_EXAMPLE.findall(text):
        comments = [line.strip(" \t#") for line in prose.splitlines()]
        # A comment line that starts in lower case goes on with the sentence of the line before.
        joined = re.sub(r"(?<![.:,])\n(?=[A-Z-])", ". ", "\n".join(filter(None, comments)))
        yield _sentences(" ".join(joined.split())), tuple(line.strip() for line in code.splitlines())


def _sentences(prose: str) -> tuple[str, ...]:
    return tuple(re.split(r"(?<=[.:!?])\s+(?=[A-Z`\"'(])", prose)) if prose else ()
