"""What a build leaves, file by file, to be set beside what another build leaves.

Every declared output of every stage, and what export writes, by its sha256. Times, speeds and memory are what a run
measures of the machine, and no two runs measure the same: they stand in the files named here, and are taken out of
them before they are hashed. Nothing else is.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.contract.graph import stages

MEASURED_KEYS = {"peak_memory_mb", "prompt_tokens_per_second", "seconds", "tokens_per_second"}
MEASURED_SERIES = {"plots/train/metrics/memory.tsv", "plots/train/metrics/tokens_per_second.tsv"}
PAGES = {"models/report.md", "models/report.html"}
UNDECLARED = "models/export"  # export is always changed, and declares none
CONVERTED = "metrics/convert.json"


def outputs(folder: Path) -> dict[str, str]:
    """The sha256 of every output of a build, by path; what was measured in it left out."""
    found = {str(path.relative_to(folder)): path for path in _files(folder)}
    assert len(found) > 40, "a build leaves more than that"
    return {place: digest(folder, place) for place in sorted(found)}


def digest(folder: Path, place: str) -> str:
    """The sha256 of one file of a project, what was measured in it left out. A torn one has its own."""
    try:
        content = _without_measures(folder, place)
    except (OSError, ValueError):  # half-written, or without the file that tells what is measured in it
        content = (folder / place).read_bytes()
    return hashlib.sha256(content).hexdigest()


def different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The paths that are not the same in both, absent ones too."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def _files(folder: Path) -> Iterator[Path]:
    declared = {out for stage in stages().values() for out in stage.outs}
    for out in sorted(declared | {UNDECLARED}):
        path = folder / out
        yield from (file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _without_measures(folder: Path, place: str) -> bytes:
    content = (folder / place).read_bytes()
    if place.startswith("metrics/"):
        return json.dumps(_cleared(json.loads(content))).encode()
    if place in MEASURED_SERIES:
        return b"\n".join(line.split(b"\t")[0] for line in content.splitlines())
    return _without_speeds(folder, content.decode()).encode() if place in PAGES else content


def _cleared(value: object) -> object:
    if isinstance(value, dict):
        return {key: None if key in MEASURED_KEYS else _cleared(inner) for key, inner in value.items()}
    return [_cleared(inner) for inner in value] if isinstance(value, list) else value


def _without_speeds(folder: Path, page: str) -> str:
    """The page without the last column of the table of GGUF files: tokens a second."""
    speeds = re.findall(r'"tokens_per_second": ([0-9.]+)', (folder / CONVERTED).read_text())
    cells = "|".join(f"{float(speed):,.0f}" for speed in speeds)
    return re.sub(rf"(\| |<td[^>]*>)(?:{cells})( \|$|</td>)", r"\1\2", page, flags=re.MULTILINE)
