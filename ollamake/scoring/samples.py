"""A page of answers side by side, for a person to judge by eye what the scores sum up."""

from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.scoring.blocks import LEGEND, answer_block, block, fenced
from ollamake.scoring.metrics import is_exact


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
{LEGEND}"""
    return "\n".join([head, *(_section(number, sample) for number, sample in enumerate(samples, start=1))])


def _section(number: int, sample: Sample) -> str:
    body = fenced(
        [
            block("prompt", sample.prompt),
            block("reference", sample.reference),
            _reply("base", sample.base, sample.reference),
            _reply("tuned", sample.tuned, sample.reference),
        ]
    )
    mark = " ✓" if is_exact(sample.tuned.text, sample.reference) else ""
    return f"## {number}.{mark} `{sample.id}`\n\n{body}"


def _reply(label: str, reply: Reply, reference: str) -> str:
    mark = " ✓" if is_exact(reply.text, reference) else ""
    return answer_block(label + mark, reply.text, stopped=reply.stopped)
