"""A page of answers side by side, for a person to judge by eye what the scores sum up."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.scoring.metrics import is_exact

WIDTH = 100
LABEL_WIDTH = 11
MAX_ROWS = 12

# Control characters as the pictures that Unicode has of them: a terminal that shows the page obeys none.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


@dataclass(frozen=True)
class Reply:
    """An answer; `stopped` is false where it was cut off at eval_max_new_tokens."""

    text: str
    stopped: bool


@dataclass(frozen=True)
class Sample:
    """One test conversation and both answers to it."""

    id: str
    prompt: str
    reference: str
    base: Reply
    tuned: Reply


def page(samples: Sequence[Sample], base_name: str, items: int) -> str:
    """Return the page in Markdown; `items` is the number of conversations that were scored."""
    chosen = f"{len(samples)} of the {items}" if len(samples) < items else f"All {items}"
    base, tuned = (
        sum(is_exact(reply.text, sample.reference) for reply, sample in zip(replies, samples, strict=True))
        for replies in ([sample.base for sample in samples], [sample.tuned for sample in samples])
    )
    head = f"""# Answers side by side

{chosen} scored test conversations, by id. Ids are hashes of the content, so nobody picked them.
`base` is {base_name} as it comes, `tuned` the same model after training.

- ✓ equals the reference but for white space (here: base {base}, tuned {tuned} of {len(samples)})
- ✂ was cut off at `eval_max_new_tokens`
- ↪ goes on from the line above, which is too long for this page
- ⋮ stands for more lines
"""
    return "\n".join([head, *(_section(number, sample) for number, sample in enumerate(samples, start=1))])


def _section(number: int, sample: Sample) -> str:
    body = "\n".join(
        [
            _block("prompt", sample.prompt),
            _block("reference", sample.reference),
            _reply("base", sample.base, sample.reference),
            _reply("tuned", sample.tuned, sample.reference),
        ]
    )
    # A fence ends at a line of as many backticks, so it has one more than any run inside.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    mark = " ✓" if is_exact(sample.tuned.text, sample.reference) else ""
    return f"## {number}.{mark} `{sample.id}`\n\n{fence}text\n{body}\n{fence}\n"


def _reply(label: str, reply: Reply, reference: str) -> str:
    mark = " ✓" if is_exact(reply.text, reference) else ""
    return _block(label + mark, reply.text.strip() + ("" if reply.stopped else " ✂"))


def _block(label: str, text: str) -> str:
    """Return the text with the label in front of its first row and the other rows below it."""
    rows = [row for line in text.strip().split("\n") for row in _rows(line.translate(_PICTURES))]
    if len(rows) > MAX_ROWS:
        rows[MAX_ROWS - 1 :] = ["⋮ ✂" if rows[-1].endswith("✂") else "⋮"]
    return "\n".join(f"{'' if index else label:<{LABEL_WIDTH}}{row}".rstrip() for index, row in enumerate(rows))


def _rows(line: str) -> list[str]:
    """Return the line cut to WIDTH columns, at spaces where it has some; an empty line stays one empty row."""
    return textwrap.wrap(line, WIDTH, subsequent_indent="↪ ", break_on_hyphens=False) or [""]
