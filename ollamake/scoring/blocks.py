"""Texts of any content in Markdown, as rows of a page that none of them breaks out of."""

import re
import textwrap
from collections.abc import Sequence

WIDTH = 100
LABEL_WIDTH = 11
MAX_ROWS = 12
LEGEND = """\
- ✂ was cut off at `eval_max_new_tokens`
- ↪ goes on from the line above, which is too long for this page
- ⋮ stands for more lines
"""

# Control characters as the pictures that Unicode has of them: a terminal that shows the page obeys none.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def fenced(blocks: Sequence[str]) -> str:
    """Return the blocks in a fence."""
    body = "\n".join(blocks)
    # A fence ends at a line of as many backticks, so it has one more than any run inside.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}text\n{body}\n{fence}\n"


def answer_block(label: str, text: str, *, stopped: bool) -> str:
    """Return an answer with the label in front; one that was not `stopped` by the model says that it was cut off."""
    return block(label, text.strip() + ("" if stopped else " ✂"))


def block(label: str, text: str) -> str:
    """Return the text with the label in front of its first row and the other rows below it."""
    rows = [row for line in text.strip().split("\n") for row in _rows(line.translate(_PICTURES))]
    if len(rows) > MAX_ROWS:
        rows[MAX_ROWS - 1 :] = ["⋮ ✂" if rows[-1].endswith("✂") else "⋮"]
    return "\n".join(f"{'' if index else label:<{LABEL_WIDTH}}{row}".rstrip() for index, row in enumerate(rows))


def _rows(line: str) -> list[str]:
    """Return the line cut to WIDTH columns, at spaces where it has some; an empty line stays one empty row."""
    return textwrap.wrap(line, WIDTH, subsequent_indent="↪ ", break_on_hyphens=False) or [""]
