"""models/judge.md: what the judge came to, and what it said of a few pairs, for a person to judge the judge."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ollamake.judge.question import Ruling
from ollamake.judge.verdicts import Verdict

SHOWN = 12
MAX_CHARACTERS = 600
# Control characters as the pictures that Unicode has of them: a terminal that shows the page obeys none.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
NOBODY = """# The judge

Nobody was asked: `judge_model: none` in params.yaml. `dvc repro -S judge_model=…` has a model in Ollama compare the
answers of the tuned model and the base model.
"""


def page(verdicts: Sequence[Verdict], metrics: Mapping[str, Any]) -> str:
    """Return the page in Markdown; `metrics` is the content of metrics/judge.json."""
    # Wins, ties and losses in turn, as far as there are: the first few alone might show but one of them.
    kinds = [[each for each in verdicts if each.outcome == kind and each.rulings] for kind in ("win", "tie", "loss")]
    turns = [each for place in range(SHOWN) for kind in kinds for each in kind[place : place + 1]][:SHOWN]
    head = f"""# The judge

`{metrics["judge_model"]}` (digest `{metrics["digest"][:12]}`) compared {metrics["items"]} answers of the tuned model
with those of the base model, blind and in both orders. An answer wins when it is the better one in both.

{summary_line(metrics)}

- {metrics["same_answer"]} pairs of equal answers count as ties and were not shown to it
- {metrics["order_disagreements"]} pairs where the order changed its mind count as ties
- {_faults(metrics["unjudged"])}
"""
    return "\n".join([head, *(_section(number, each) for number, each in enumerate(turns, start=1))])


def summary_line(metrics: Mapping[str, Any]) -> str:
    """Return wins, ties and losses, and the score with its interval, in one line."""
    counts = f"tuned against base: {metrics['win']} won, {metrics['tie']} tied, {metrics['loss']} lost"
    if "score" not in metrics:
        return f"{counts}; no pair has a verdict"
    interval = f"{metrics['score_low']:.0%} to {metrics['score_high']:.0%}"
    return f"{counts}; score {metrics['score']:.0%} (95 % interval {interval}; 50 % = no difference)"


def _faults(unjudged: Mapping[str, int]) -> str:
    if not unjudged:
        return "every pair has a verdict"
    return "without a verdict: " + ", ".join(f"{count} (its reply {fault})" for fault, count in unjudged.items())


def _section(number: int, verdict: Verdict) -> str:
    pair = verdict.pair
    texts = {"prompt": pair.prompt, "reference": pair.reference, "base": pair.base, "tuned": pair.tuned}
    body = "\n\n".join(f"{label}:\n{_shown(text)}" for label, text in texts.items())
    # A fence ends at a line of as many backticks, so it has one more than any run inside.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    heard = "\n".join(
        f"- {first} first: **{ruling.side}**. {_quoted(ruling)}"
        for first, ruling in zip(("tuned", "base"), verdict.rulings, strict=True)
    )
    return f"## {number}. {verdict.outcome} `{pair.id}`\n\n{fence}text\n{body}\n{fence}\n\n{heard}\n"


def _quoted(ruling: Ruling) -> str:
    """Return the reason as one line of plain text: nothing in it may become a heading, a link or an image."""
    line = " ".join(ruling.reason.translate(PICTURES).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", line)


def _shown(text: str) -> str:
    text = text.strip().translate(PICTURES)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
