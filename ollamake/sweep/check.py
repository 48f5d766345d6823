"""Everything that is wrong with a sweep, found before its first trial."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake import params
from ollamake.files import read_json
from ollamake.params import StageParams
from ollamake.sweep.graph import DVC_YAML, TARGET, Graph, read_graph
from ollamake.sweep.space import Point, corners, count_corners, ends
from ollamake.sweep.spec import Dimension, Spec, refusal

METRICS = Path("metrics/evaluate.json")
MOST_CORNERS = 256
MULTI_OBJECTIVE_SAMPLERS = ("grid", "random", "tpe", "gp")


@dataclass(frozen=True)
class World:
    """What a sweep is checked against; `metrics` is empty where nothing was evaluated yet."""

    content: Mapping[str, Any]
    stages: Mapping[str, type[StageParams]]
    graph: Graph
    metrics: Mapping[str, float]


def look() -> World:
    """Return the world as the files of this checkout describe it. Raises OllamakeError for a file that is broken."""
    content = params.read()
    params.check(content)
    metrics = flatten(read_json(METRICS)) if METRICS.is_file() else {}
    return World(content, params.schemas(), read_graph(DVC_YAML.read_text(encoding="utf-8")), metrics)


def check(spec: Spec, world: World, path: Path) -> None:
    """Raise one SweepError that names everything wrong with the sweep."""
    if found := list(findings(spec, world)):
        raise refusal(found, path)


def findings(spec: Spec, world: World) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong."""
    yield from _search(spec)
    yield from _objectives(spec, world)
    yield from _conditions(spec)
    yield from _names(spec, world)
    yield from _values(spec, world)


def _search(spec: Spec) -> Iterator[str]:
    if spec.sampler == "grid":
        for name, dimension in spec.space.items():
            if dimension.is_continuous:
                yield f"space.{name}: a grid goes through values, and this range has no end of them; give `choices`"
    several = len(spec.objective) > 1
    if several and spec.sampler not in MULTI_OBJECTIVE_SAMPLERS:
        yield f"sampler: {spec.sampler} knows one objective only; {', '.join(MULTI_OBJECTIVE_SAMPLERS)} know several"
    if several and spec.pruner != "none":
        yield f"pruner: {spec.pruner} compares one number, and here are {len(spec.objective)}; take none"
    if spec.sampler == "cmaes" and sum(_is_number(dimension) for dimension in spec.space.values()) < 2:
        yield "sampler: cmaes moves through two or more ranges without conditions; take tpe"


def _is_number(dimension: Dimension) -> bool:
    return dimension.choices is None and not dimension.when


def _objectives(spec: Spec, world: World) -> Iterator[str]:
    for metric in spec.objective:
        if world.metrics and metric not in world.metrics:
            yield f"objective.{metric}: {METRICS} has {', '.join(world.metrics)}"


def _conditions(spec: Spec) -> Iterator[str]:
    known: list[str] = []
    for name, dimension in spec.space.items():
        for other, wanted in dimension.when.items():
            if other not in known:
                where = "stands after it, and must stand before it" if other in spec.space else "is not in the space"
                yield f"space.{name}.when: {other} {where}"
                continue
            choices = spec.space[other].choices
            values = wanted if isinstance(wanted, list) else [wanted]
            missing = [value for value in values if value not in (choices or [])]
            if choices is None:
                yield f"space.{name}.when: {other} is a range; a condition needs one of `choices`"
            elif missing:
                yield f"space.{name}.when: {missing[0]!r} is none of the choices of {other}"
        known.append(name)


def _names(spec: Spec, world: World) -> Iterator[str]:
    for group, names in (("space", spec.space), ("fixed", spec.fixed)):
        for name in names:
            if name in world.content and not world.graph.readers(name):
                yield f"{group}.{name}: changes nothing up to `{TARGET}`, where a trial ends"
    for name in spec.space.keys() & spec.fixed.keys():
        yield f"fixed.{name}: is searched in `space`, too"


def _values(spec: Spec, world: World) -> Iterator[str]:
    """Yield what the stages say of names and values, once each, however many corners of the space share it."""
    searched = dict.fromkeys(spec.space | spec.fixed)
    known = {key for schema in world.stages.values() for key in schema.model_fields}
    unknown = {name: None for name in searched if name not in known}
    yield from params.findings({**unknown, **world.content}, world.stages)
    readers = {name: schema for name, schema in world.stages.items() if searched.keys() & schema.model_fields.keys()}
    content = {key: world.content[key] for schema in readers.values() for key in schema.model_fields}
    fixed = {name: value for name, value in spec.fixed.items() if name in known}
    seen: dict[str, str] = {}
    for point in [{}, *_tried(spec)]:
        chosen = {name: value for name, value in point.items() if name in known}
        for sentence in params.findings({**content, **fixed, **chosen}, readers):
            seen.setdefault(sentence.rpartition(" (stage ")[0], sentence)  # several stages may read it
    yield from seen.values()


def _tried(spec: Spec) -> Iterator[Point]:
    if count_corners(spec.space) <= MOST_CORNERS:
        yield from corners(spec.space)
    else:
        yield from ends(spec.space)


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a metrics file by their dotted keys; intervals, which are lists, are left out."""
    found: dict[str, float] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = value
    return found
