"""The sections of settings and measured numbers side by side: parameters, versions, base model, cost, the rest."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ollamake.compare.build import Build, flat
from ollamake.compare.document import Section
from ollamake.compare.scores import better
from ollamake.compare.table import ABSENT, Cell, Line, Table, beside, mapped, numbers, of_builds

DATA = ("prepare", "tokenize", "distill")
ELSEWHERE = (*DATA, "evaluate", "gate")  # in sections of their own
SECONDS, MEMORY = "seconds", "peak_memory_mb"
DIGEST = 12


def revisions(builds: Sequence[Build]) -> Section:
    """Return what is compared."""
    lines = [
        Line(build.name, [Cell(build.revision.commit[:7] or ABSENT), Cell(build.revision.date), Cell(_what(build))])
        for build in builds
    ]
    return Section("What is compared", [Table(["", "commit", "made", "what"], lines, texts=True)])


def parameters(builds: Sequence[Build]) -> Section:
    """Return params.yaml side by side."""
    lines = beside([build.params for build in builds], _written)
    return Section("Parameters", [of_builds(names(builds), lines, texts=True)], same="no parameter differs")


def versions(builds: Sequence[Build]) -> Section:
    """Return pins.yaml side by side."""
    lines = beside([build.pins for build in builds])
    table = of_builds(names(builds), lines, texts=True)
    return Section("Pinned versions", [table], same="the pinned packages are the same")


def base_model(builds: Sequence[Build]) -> Section:
    """Return the record of the base model side by side, with the beginnings of its digests."""
    lines = beside(mapped([flat(build.base) for build in builds], _shortened))
    return Section("Base model", [of_builds(names(builds), lines, texts=True)], same="the base model is the same")


def cost(builds: Sequence[Build]) -> Section:
    """Return time and peak memory of each stage that measures them."""
    lines = []
    for stage in dict.fromkeys(stage for build in builds for stage in build.metrics):
        found = [build.metrics.get(stage, {}) for build in builds]
        for name, what, form in ((SECONDS, "time", "{:,.0f} s"), (MEMORY, "peak memory", "{:,.0f} MB")):
            values = [_number(each.get(name)) for each in found]
            if any(value is not None for value in values):
                lines.append(numbers(f"{stage}, {what}", values, form.format))
    table = of_builds(names(builds), lines)
    return Section("Time and memory", [table], same="no stage that measures time and memory ran anew")


def other_figures(builds: Sequence[Build]) -> Section:
    """Return every further number that the stages measured: losses, tokens, parity, sizes."""
    lines, notes = [], []
    for stage in dict.fromkeys(stage for build in builds for stage in build.metrics):
        having = [build.name for build in builds if stage in build.metrics]
        if stage in ELSEWHERE:
            continue
        if len(having) == 1:
            notes.append(f"{stage} measured something for {having[0]} alone")
            continue
        lines += [line for line in _measured(stage, builds) if line.name.split()[-1] not in (SECONDS, MEMORY)]
    table = of_builds(names(builds), lines)
    return Section("Other figures", [table], notes, same="no other figure differs")


def data_figures(builds: Sequence[Build]) -> Table:
    """Return what prepare, distill and tokenize counted."""
    lines = [line for stage in DATA for line in _measured(stage, builds)]
    return of_builds(names(builds), lines, "Counted")


def _measured(stage: str, builds: Sequence[Build]) -> Iterator[Line]:
    """Yield a line for each number in the metrics of a stage."""
    found = [flat(build.metrics.get(stage, {})) for build in builds]
    for name in dict.fromkeys(name for each in found for name in each):
        values = [_number(each.get(name)) for each in found]
        if any(value is not None for value in values):
            yield numbers(f"{stage} {name}", values, _short, better(name))


def names(builds: Sequence[Build]) -> list[str]:
    """Return what the person called the builds."""
    return [build.name for build in builds]


def _what(build: Build) -> str:
    if build.revision.in_workspace:
        return "the files as they lie here"
    return "an experiment" if build.revision.is_experiment else build.revision.subject


def _written(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)


def _shortened(value: Any) -> str:
    text = str(value)
    kind, _, digest = text.rpartition(":")
    return f"{kind}:{digest[:DIGEST]}".removeprefix(":") if len(digest) == 64 else text


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:,.4g}"
