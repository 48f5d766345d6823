"""A build as one revision has it: parameters, metrics, curves, answers; what is missing of it is said, not raised."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.compare.outputs import Locate, NotAtHandError, Outputs
from ollamake.compare.revision import Revision
from ollamake.files import read_json, read_jsonl

PARAMS, PINS, GRAPH, LOCK = "params.yaml", "pins.yaml", "dvc.yaml", "dvc.lock"
ITEMS, CONVERSATIONS, BASE = "models/evaluated/items.jsonl", "data/tokenized/test.arrow", "models/base.json"
SHOWN = 5
Row = Mapping[str, Any]


@dataclass
class Build:
    """One revision and what it came to. `remarks` are sentences about what is missing or out of date."""

    revision: Revision
    locate: Locate
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the person called it."""
        return self.revision.name

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """params.yaml, nested keys with dots between."""
        return flat(self._yaml(PARAMS))

    @cached_property
    def pins(self) -> Mapping[str, Any]:
        """pins.yaml: the versions of the packages that decide results."""
        return self._yaml(PINS)

    @cached_property
    def stages(self) -> Mapping[str, Any]:
        """The stages of dvc.yaml by name, as they are written there."""
        found = self._yaml(GRAPH).get("stages") or {}
        return {name: stage.get("do", stage) for name, stage in found.items()}

    @cached_property
    def lock(self) -> Mapping[str, Any]:
        """dvc.lock: what each stage last ran with, and what it made."""
        return self._yaml(LOCK)

    @cached_property
    def outputs(self) -> Outputs:
        """The cached outputs."""
        return Outputs(self.revision, self.lock, self.locate)

    @cached_property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of the stages that ran for this build, by the name of the file: train for metrics/train.json."""
        found = {}
        for path in self.declared("metrics"):
            if path.endswith(".json") and (content := self._parsed(path, json.loads)) is not None:
                found[path.rpartition("/")[2].removesuffix(".json")] = content
        return found

    @cached_property
    def items(self) -> dict[str, Row]:
        """What the tuned model answered, by the id of the conversation; empty where that cannot be had."""
        try:
            return {row["id"]: row for row in read_jsonl(self.outputs.path(ITEMS))}
        except NotAtHandError as missing:
            self.remarks.append(f"{missing}; so no answer of it is shown, and no difference tested")
        except (ValueError, KeyError, OSError) as error:
            self.remarks.append(f"{ITEMS} of {self.name} cannot be read: {error}")
        return {}

    @cached_property
    def base(self) -> Mapping[str, Any]:
        """The record of the base model; empty where that cannot be had."""
        try:
            return dict(read_json(self.outputs.path(BASE)))
        except NotAtHandError as missing:
            self.remarks.append(str(missing))
        except (ValueError, OSError) as error:
            self.remarks.append(f"{BASE} of {self.name} cannot be read: {error}")
        return {}

    @cached_property
    def outdated(self) -> set[str]:
        """The stages that did not run since what they read was made anew; `dvc repro evaluate` leaves such."""
        stages = self.lock.get("stages", {})
        made = {entry["path"]: (name, entry.get("md5")) for name in stages for entry in stages[name].get("outs", [])}

        def reads_another(stage: Mapping[str, Any], found: set[str]) -> bool:
            known = (
                (*made[entry["path"]], entry.get("md5")) for entry in stage.get("deps", []) if entry["path"] in made
            )
            return any(maker in found or now != then for maker, now, then in known)

        found: set[str] = set()
        while more := {name for name, stage in stages.items() if reads_another(stage, found)} - found:
            found |= more
        return found

    def declared(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Return the files that dvc.yaml declares as `kind` (metrics, plots), with their properties.

        Those of a stage that is outdated are left out: they are not of this build.
        """
        stages = (stage for name, stage in self.stages.items() if name not in self.outdated)
        entries = (entry for stage in stages for entry in stage.get(kind, []))
        return {path: found for entry in entries for path, found in _paths(entry)}

    def prompts(self) -> dict[str, tuple[str, str]]:
        """Return prompt and reference of every test conversation, by id. Raises NotAtHandError."""
        import pyarrow as pa

        path = self.outputs.path(CONVERSATIONS)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().select(["id", "prompt", "reference"])
        except (pa.ArrowInvalid, KeyError) as error:
            raise NotAtHandError(f"{CONVERSATIONS} of {self.name} cannot be read: {error}") from error
        return {row["id"]: (row["prompt"], row["reference"]) for row in table.to_pylist()}

    def stale(self) -> Iterator[str]:
        """Yield what metrics are not of this build, or not made with what params.yaml and pins.yaml say."""
        if left := [name for name in self.stages if name in self.outdated and self.stages[name].get("metrics")]:
            yield (
                f"{', '.join(left)} of {self.name} did not run since what they read was made anew: what they measured "
                "then is left out; `dvc repro` runs them"
            )
        now = {PARAMS: self.params, PINS: flat(self.pins)}
        for stage, entry in self.lock.get("stages", {}).items():
            if not self.stages.get(stage, {}).get("metrics"):
                continue
            ran = {file: flat(entry.get("params", {}).get(file) or {}) for file in now}
            differing = [
                f"{name} {value}"
                for file, known in now.items()
                for name, value in ran[file].items()
                if known.get(name, value) != value
            ]
            if differing:
                more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
                yield (
                    f"{stage} of {self.name} last ran with {', '.join(differing[:SHOWN])}{more}, which is not what its "
                    f"{PARAMS} or {PINS} says: `dvc repro` brings them together"
                )

    def _yaml(self, path: str) -> dict[str, Any]:
        content = self._parsed(path, YAML(typ="safe", pure=True).load)
        return content if isinstance(content, dict) else {}

    def _parsed(self, path: str, parse: Callable[[bytes], Any]) -> Any:
        """Return the content of a file of the revision, None for none; one that cannot be read is remarked."""
        if (content := self.revision.read(path)) is None:
            return None
        try:
            return parse(content)
        except (YAMLError, ValueError) as error:
            self.remarks.append(f"{path} of {self.name} cannot be read: {str(error).splitlines()[0]}")
            return None


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings under names with dots between."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _paths(entry: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield path and properties of an entry of dvc.yaml, which is a path or has one as its key."""
    if isinstance(entry, Mapping):
        yield from ((str(path), found if isinstance(found, Mapping) else {}) for path, found in entry.items())
    else:
        yield str(entry), {}
