"""What a change reruns, as dvc.yaml says it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DVC_YAML = Path("dvc.yaml")
Stages = Mapping[str, Mapping[str, Any]]


def read_stages() -> Stages:
    """Return the stages by name, in the order of the file."""
    stages: Stages = YAML(typ="safe", pure=True).load(DVC_YAML.read_text(encoding="utf-8"))["stages"]
    return stages


def first_rerun(stages: Stages, key: str) -> list[str]:
    """Return the stages that read a parameter, without those that rerun in any case because they follow one."""
    readers = {name for name, stage in stages.items() if key in _parameters(stage)}
    return [name for name in stages if name in readers and not any(name in after(stages, other) for other in readers)]


def after(stages: Stages, name: str) -> list[str]:
    """Return the stages that read what a stage writes, directly or through others."""
    found = {name}
    while more := {
        other for other in stages if other not in found and any(_feeds(stages[one], stages[other]) for one in found)
    }:
        found |= more
    return [other for other in stages if other in found - {name}]


def _parameters(stage: Mapping[str, Any]) -> set[str]:
    listed = {key for key in stage.get("params", []) if isinstance(key, str)}
    return listed | {key for dep in stage.get("deps", []) for key in re.findall(r"\$\{(\w+)\}", dep)}


def _feeds(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    deps = [Path(dep) for dep in other.get("deps", [])]
    return any(dep.is_relative_to(out) or out.is_relative_to(dep) for out in _outs(one) for dep in deps)


def _outs(stage: Mapping[str, Any]) -> Iterator[Path]:
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            yield Path(entry if isinstance(entry, str) else next(iter(entry)))
