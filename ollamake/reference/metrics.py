"""docs/reference/metrics.md: what every number in metrics/*.json means."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ollamake.reference.sentences import FILES

HEAD = """# Metrics

What stands in metrics/*.json, which `dvc metrics show` and `dvc metrics diff` read. Shares are from 0 to 1. Where a
line is missing in a file, there was nothing of the kind: no row was rejected, no teacher asked.
"""
SAME = {"evaluate": "The same as metrics/baseline.json, of the tuned model."}


def page() -> str:
    """Return the page in Markdown."""
    lines = [HEAD]
    for stage, sentences in FILES.items():
        lines.append(f"## metrics/{stage}.json\n")
        if stage in SAME:
            lines.append(f"{SAME[stage]}\n")
            continue
        lines += ["| number | what it is |", "| --- | --- |"]
        lines += [f"| {_shown(pattern)} | {sentence} |" for pattern, sentence in sentences.items()]
        lines.append("")
    return "\n".join(lines)


def keys(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all numbers and texts in a metrics file."""
    for key, value in metrics.items():
        if isinstance(value, Mapping) and value:
            yield from keys(value, f"{prefix}{key}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{key}"


def sentence(stage: str, key: str) -> str | None:
    """Return what the number of a stage means; None for one that has no sentence."""
    return next((said for pattern, said in FILES[stage].items() if _matches(pattern, key)), None)


def _matches(pattern: str, key: str) -> bool:
    parts = [f"(?:{part})" if "|" in part else r".+" if part == "*" else part for part in pattern.split(".")]
    return re.fullmatch(r"\.".join(parts), key) is not None


def _shown(pattern: str) -> str:
    head, separator, last = pattern.rpartition(".")
    return ", ".join(f"`{head}{separator}{name}`" for name in last.split("|")) if "|" in last else _escaped(pattern)


def _escaped(pattern: str) -> str:
    return (
        f"`{pattern}`"
        if "|" not in pattern
        else ", ".join(f"`{name}.{pattern.partition('.')[2]}`" for name in pattern.partition(".")[0].split("|"))
    )
