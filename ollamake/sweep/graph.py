"""dvc.yaml as a sweep sees it: the stages that lead to `evaluate`, and which of them a parameter reruns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.sweep.errors import SweepError

DVC_YAML = Path("dvc.yaml")
TARGET = "evaluate"
# The stage whose curves are read while a trial runs, and the one that counts where the objective has no curve.
TRAIN, CURVES, VALIDATION = "train", "plots/train/metrics", "val_loss"


@dataclass(frozen=True)
class Graph:
    """The stages that `dvc exp run evaluate` looks at, by name, as dvc.yaml defines them."""

    stages: Mapping[str, Mapping[str, Any]]

    def readers(self, parameter: str) -> set[str]:
        """Return the stages that list the parameter or have it in a path, as in `${data_source}`."""
        template = re.compile(rf"\$\{{\s*{re.escape(parameter)}\s*\}}")
        return {
            name
            for name, stage in self.stages.items()
            if parameter in _names(stage.get("params")) or template.search(str(dict(stage)))
        }

    def rerun(self, parameters: Iterable[str]) -> set[str]:
        """Return the stages that other values of the parameters can rerun: their readers and all that follow."""
        found: set[str] = set().union(*(self.readers(parameter) for parameter in parameters))
        while more := {name for name in self.stages if found & self._before(name)} - found:
            found |= more
        return found

    def curve(self, metric: str) -> str:
        """Return the file of the curve that tells a bad trial early: the objective's own, else validation loss."""
        own = f"{CURVES}/{metric}.tsv"
        return own if own in _paths(self.stages.get(TRAIN, {}), "plots") else f"{CURVES}/{VALIDATION}.tsv"

    def _before(self, name: str) -> set[str]:
        return _makers(self.stages, name)


def read_graph(text: str) -> Graph:
    """Return the graph that leads to `evaluate` in the text of a dvc.yaml. Raises SweepError where there is none."""
    try:
        stages = YAML(typ="safe", pure=True).load(text)["stages"]
        wanted, new = {TARGET}, {TARGET}
        while new:
            new = set().union(*(_makers(stages, name) for name in new)) - wanted
            wanted |= new
        return Graph({name: stage for name, stage in stages.items() if name in wanted})
    except (KeyError, TypeError, ValueError, YAMLError) as error:
        raise SweepError(
            f"has no stage {TARGET} that can be read", where=str(DVC_YAML), hint="`dvc stage list` tells more"
        ) from error


def _makers(stages: Mapping[str, Mapping[str, Any]], name: str) -> set[str]:
    """Return the stages that write what the stage reads."""
    reads = _paths(stages[name], "deps")
    return {
        other
        for other, stage in stages.items()
        if other != name and _overlap(reads, _paths(stage, "outs", "metrics", "plots"))
    }


def _overlap(some: set[str], others: set[str]) -> bool:
    return any(f"{one}/".startswith(f"{two}/") or f"{two}/".startswith(f"{one}/") for one in some for two in others)


def _paths(stage: Mapping[str, Any], *fields: str) -> set[str]:
    entries = [entry for field in fields for entry in stage.get(field) or []]
    return {str(path).rstrip("/") for entry in entries for path in (entry if isinstance(entry, Mapping) else [entry])}


def _names(params: Any) -> set[str]:
    """Return the names of params.yaml that a stage lists; those of other files stand under the file's name."""
    return {entry for entry in params or [] if isinstance(entry, str)}
