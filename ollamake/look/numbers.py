"""The numbers of the last prepare and tokenize, as they lie in the metrics, and what is missing of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.look.tokenized import ArrowFile

PREPARE, TOKENIZE = Path("metrics/prepare.json"), Path("metrics/tokenize.json")
LENGTHS, REPORT = Path("plots/tokenize/lengths.csv"), Path("data/prepared/report.md")


@dataclass
class Numbers:
    """What is known of the data. `prepare` and `tokenize` are the metrics, empty where there are none.

    `lengths` are (tokens, conversations) pairs, evenly spaced; `gaps` are what is missing or out of date, one sentence
    each.
    """

    prepare: dict[str, Any] = field(default_factory=dict)
    tokenize: dict[str, Any] = field(default_factory=dict)
    lengths: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def read_numbers() -> Numbers:
    """Return the numbers of the last build. Raises OllamakeError when there was none."""
    if not PREPARE.exists() and not TOKENIZE.exists():
        raise OllamakeError("no data is prepared yet", where=str(PREPARE), hint="`dvc repro tokenize`")
    numbers = Numbers()
    if PREPARE.exists():
        numbers.prepare = _metrics(PREPARE)
        _require(PREPARE, numbers.prepare, {"rows", "kept", "rejected_fraction"})
    else:
        numbers.gaps.append(f"{PREPARE} is missing: `dvc repro prepare`")
    if TOKENIZE.exists():
        numbers.tokenize = _metrics(TOKENIZE)
        for counts in numbers.tokenize.values():
            _require(TOKENIZE, counts, {"rows", "dropped"})
        numbers.gaps += [gap for split, counts in numbers.tokenize.items() if (gap := _gap(split, counts["rows"]))]
    else:
        numbers.gaps.append(f"{TOKENIZE} is missing: `dvc repro tokenize`")
    if LENGTHS.exists():
        numbers.lengths = _lengths(LENGTHS.read_text(encoding="utf-8"))
    elif numbers.tokenize:
        numbers.gaps.append(f"{LENGTHS} is missing: `dvc repro tokenize`")
    return numbers


def _metrics(path: Path) -> dict[str, Any]:
    """Return the metrics in a file. Raises OllamakeError when it is damaged."""
    try:
        content = read_json(path)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is not valid JSON: {error}") from error
    _require(path, content, set())
    return dict(content)


def _require(path: Path, counts: Any, keys: set[str]) -> None:
    if not isinstance(counts, dict) or not keys <= counts.keys():
        raise _damaged(path, "does not hold what the stage writes")


def _damaged(path: Path, problem: str) -> OllamakeError:
    return OllamakeError(problem, where=str(path), hint=f"`dvc repro --force --single-item {path.stem}` writes it anew")


def _gap(split: str, rows: int) -> str:
    """Return what stands between the file of a split and its metrics, empty if nothing."""
    try:
        found = ArrowFile(split)
    except OllamakeError as error:
        state = error.problem if Path(error.where).exists() else "is missing"
        return f"{error.where} {state}: `dvc checkout`, or {error.hint}"
    if found.rows != rows:
        return f"{found.path} has {found.rows:,} rows, {TOKENIZE} says {rows:,}: `dvc repro tokenize`"
    return ""


def _lengths(table: str) -> list[tuple[int, int]]:
    _, *lines = table.splitlines()
    return [(int(tokens), int(count)) for tokens, count in (line.split(",") for line in lines)]


def fewer_bins(lengths: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most `most` bins, each the sum of equally many neighbours."""
    together = -(-len(lengths) // most)
    groups = [lengths[start : start + together] for start in range(0, len(lengths), together)]
    return [(group[0][0], sum(count for _, count in group)) for group in groups]
