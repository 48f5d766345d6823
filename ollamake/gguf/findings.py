"""What the checks found, and how a difference is shown to a person."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import ParityError

CONTEXT_CHARACTERS, CONTEXT_TOKENS = 24, 6  # shown before and after the first difference
SHOWN_PER_GROUP = 3
HINTS = {
    "metadata": "the file describes another model than config.json and the tokenizer do; after a change by hand in the "
    "store, `dvc repro --force --single-item fetch`, otherwise this architecture is not converted correctly",
    "weights": "training has driven some weights out of range: lower learning_rate",
    "matrices": "the file does not hold what was trained: `dvc repro --force --single-item convert`; if it stays, the "
    "weights of this architecture are not converted correctly",
    "prompt texts": "the server would send another prompt than training saw: compare the base model's "
    "chat_template.jinja with the template inside the GGUF",
    "token ids": "llama.cpp splits text in another way than tokenizer.json does: take the base model from its hub "
    "repository instead of a GGUF, whose tokenizer may have lost its rules",
    "stops": "the served model would not stop: compare eos_token_id in the base model's generation_config.json with "
    "what its chat template writes after an answer",
    "number of tokens": "raise parity_prompts or parity_max_new_tokens, or probe_fraction where there are few prompts",
    "numbers": "a quantized file may be too coarse for this model: `dvc exp run -S gguf_quantization=Q8_0`, or F16; "
    "if F16 fails, the weights of this architecture are not converted correctly",
}


@dataclass(frozen=True)
class Finding:
    """One check: its group (a key of HINTS), what was looked at, and, where it failed, how."""

    group: str
    subject: str
    passed: bool
    detail: str = ""


def equal(group: str, subject: str, expected: Any, got: Any) -> Finding:
    """Return the finding of a check that wants two values equal."""
    if expected == got:
        return Finding(group, subject, passed=True)
    return Finding(group, subject, passed=False, detail=difference(expected, got))


def difference(expected: Any, got: Any) -> str:
    """Return two lines, expected over got, cut to what surrounds the first difference."""
    if isinstance(expected, str | list) and type(expected) is type(got):
        start = first_difference(expected, got)
        expected, got = _around(expected, start), _around(got, start)
    else:
        expected, got = repr(expected), repr(got)
    return f"expected {expected}\ngot      {got}"


def first_difference(expected: Sequence[Any], got: Sequence[Any]) -> int:
    """Return the index of the first difference; the shorter length where one begins with the other."""
    pairs = zip(expected, got, strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(len(expected), len(got)))


def passed(found: Sequence[Finding]) -> dict[str, int]:
    """Return how many checks of each group passed."""
    return dict(sorted(Counter(finding.group for finding in found if finding.passed).items()))


def refuse_failures(found: Sequence[Finding], file: Path) -> None:
    """Raise one ParityError that lists what failed, with the hint of the first group: the causes come first."""
    failed = [finding for finding in found if not finding.passed]
    if not failed:
        return
    groups = list(dict.fromkeys(finding.group for finding in failed))
    lines = [f"{len(failed)} of {len(found)} checks against the trained model failed"]
    for group in groups:
        lines += _listed([finding for finding in failed if finding.group == group])
    raise ParityError("\n".join(lines), where=file.name, hint=HINTS[groups[0]])


def _listed(failed: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in failed[:SHOWN_PER_GROUP]:
        lines.append(f"  ✗ {finding.group}: {finding.subject}")
        lines += [f"      {line}" for line in finding.detail.splitlines()]
    if len(failed) > SHOWN_PER_GROUP:
        lines.append(f"  ✗ {failed[0].group}: {len(failed) - SHOWN_PER_GROUP} more")
    return lines


def _around(value: Sequence[Any], start: int) -> str:
    context = CONTEXT_CHARACTERS if isinstance(value, str) else CONTEXT_TOKENS
    low, high = max(0, start - context), start + context
    return f"{'… ' if low else ''}{value[low:high]!r}{' …' if high < len(value) else ''}"
