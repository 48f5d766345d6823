"""`python -m ollamake compare`: two or more builds side by side, on the screen and as a page."""

from collections.abc import Sequence
from pathlib import Path

import typer

from ollamake.compare.build import Build
from ollamake.compare.comparison import compare
from ollamake.compare.outputs import cache_of
from ollamake.compare.page import write_page
from ollamake.compare.revision import resolve
from ollamake.compare.screen import console, show


def run(names: Sequence[str], html: Path, *, everything: bool) -> None:
    """Compare the revisions, print what differs and write the page. Raises OllamakeError."""
    revisions = resolve(names)
    locate = cache_of(Path.cwd())
    document = compare([Build(revision, locate) for revision in revisions])
    write_page(document, html)  # before the screen, whose reader may leave early
    show(document, console(), everything=everything)
    typer.echo(f"with curves and every answer that changed: {html}", err=True)
