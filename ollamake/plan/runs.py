"""What past runs have cost on this machine, from DVC's run cache: it keeps the parameters and metrics of every run.

So nothing has to be written down for it, experiments count too, and the metrics that came with a clone, which are of
another machine, do not. (`dvc pull --run-cache` brings runs of other machines; their times would mislead.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.files import read_json

COMMAND = "cmd: python -m stages."


@dataclass(frozen=True)
class Run:
    """A past run of a stage: the parameters it read, the md5s of what it read, by path, and its metrics."""

    params: Mapping[str, Any]
    deps: Mapping[str, str]
    metrics: Mapping[str, Any]


class Runs:
    """The runs that DVC's cache at `folder` knows of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest(self, stage: str) -> Iterator[Run]:
        """Yield the runs of a stage whose metrics are still in the cache, newest first."""
        for entry in self._entries.get(stage, ()):
            if run := self._read(stage, entry):
                yield run

    def that_wrote(self, stage: str, md5: str) -> Run | None:
        """Return a run of the stage that has read or written these bytes, None if there is none."""
        entry = next((entry for entry in self._entries.get(stage, ()) if md5 in entry), "")
        return self._read(stage, entry)

    def json(self, md5: str) -> Any:
        """Return the content of a JSON file in the cache, None where it is not there."""
        path = self._folder / "files" / "md5" / md5[:2] / md5[2:]
        return read_json(path) if md5 and path.is_file() else None

    @cached_property
    def _entries(self) -> dict[str, list[str]]:
        """The run cache's files as text, newest first, by stage."""
        found = [path for path in (self._folder / "runs").glob("*/*/*") if path.is_file()]
        entries: dict[str, list[str]] = {}
        for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
            text = path.read_text(encoding="utf-8", errors="replace")
            if text.startswith(COMMAND):
                entries.setdefault(text.partition("\n")[0].removeprefix(COMMAND), []).append(text)
        return entries

    def _read(self, stage: str, text: str) -> Run | None:
        try:
            entry = YAML(typ="safe").load(text)
            outs = {out["path"]: out["md5"] for out in entry["outs"]}
            metrics = self.json(outs.get(f"metrics/{stage}.json", ""))
            params = entry["params"]["params.yaml"]
            deps = {dependency["path"]: dependency["md5"] for dependency in entry["deps"]}
        except (OSError, YAMLError, ValueError, KeyError, TypeError):
            return None  # half written, or of a graph of old
        return Run(params, deps, metrics) if metrics else None
