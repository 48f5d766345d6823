"""docs/result.svg: the end of the last build as a terminal shows it, drawn from metrics/*.json."""

import hashlib
import io
import re
from pathlib import Path

from rich.console import Console, Group
from rich.terminal_theme import DIMMED_MONOKAI

from ollamake import summary
from ollamake.files import read_json

SOURCES = tuple(summary.METRICS / f"{stage}.json" for stage in ("train", "gate", "convert"))
COLUMNS = 76
# rich's own picture loads its font from a CDN.
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def picture() -> str:
    """Return the picture as SVG; a comment in it has the sha256 of the numbers that it shows."""
    figures, gate, conversion = (read_json(path) for path in SOURCES)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Group(summary.training(figures), summary.scores(gate), summary.parity(conversion)))
    drawn = console.export_svg(title="make build", theme=DIMMED_MONOKAI, unique_id="result")
    text = FONT.sub("", drawn).replace("Fira Code", "ui-monospace")
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join([*filter(None, lines), f"<!-- {source_digest()} -->", ""])


def source_digest() -> str:
    """Return the sha256 of the metrics that the picture shows."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in SOURCES)).hexdigest()
