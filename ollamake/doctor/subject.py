"""What the checks look at: the workspace in the current folder, each fact read once for all that need it."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ollamake import params
from ollamake.doctor.finding import SkippedError
from ollamake.errors import OllamakeError

DVC_LINKS = ("reflink", "copy")  # what it tries where its configuration names none
GRAPH, LOCK = Path("dvc.yaml"), Path("dvc.lock")


class Subject:
    """The workspace, and whether to look at everything (`deep`). A fact that is not there raises SkippedError."""

    def __init__(self, *, deep: bool = False) -> None:
        self.deep = deep
        self.root = Path.cwd().resolve()

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The parameters, once they are right."""
        try:
            content = params.read()
            params.check(content)
        except OllamakeError:
            raise SkippedError("params.yaml has to be right first") from None
        return content

    @cached_property
    def settings(self) -> Any:
        """The parameters of training."""
        from ollamake.training.settings import Settings

        return params.select(Settings, self.content)

    @cached_property
    def graph(self) -> Mapping[str, Any]:
        """The stages of dvc.yaml as they are written."""
        return _stages(GRAPH, "there is no dvc.yaml here")

    @cached_property
    def lock(self) -> Mapping[str, Any]:
        """The stages of dvc.lock."""
        return _stages(LOCK, "nothing was built yet")

    @cached_property
    def dvc(self) -> Any:
        """DVC's own view of the repository; opening it takes no lock."""
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            return Repo(str(self.root))
        except DvcException as error:
            raise SkippedError(f"DVC cannot open the repository: {str(error).splitlines()[0]}") from None

    @cached_property
    def cache(self) -> Path:
        """The folder of DVC's cache, whether it is there or not."""
        return Path(self.dvc.cache.local_cache_dir)

    @property
    def link_types(self) -> list[str]:
        """The kinds of link that DVC is to try, in their order."""
        return list(self.dvc.config["cache"].get("type", DVC_LINKS))

    @cached_property
    def dependencies(self) -> list[str]:
        """The files and folders that the stages read and no stage writes."""
        read = {_filled(dep, self.content) for stage in self.graph.values() for dep in _paths(stage, "deps")}
        return sorted(read - _written(self.graph).keys())

    @cached_property
    def outputs(self) -> list[str]:
        """What the stages write into DVC's cache."""
        return sorted(path for path, options in _written(self.graph).items() if options.get("cache", True))


def _stages(path: Path, missing: str) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SkippedError(missing) from None
    except YAMLError:
        content = None
    if not isinstance(content, Mapping):
        raise SkippedError(f"{path} has to be whole first")
    stages: Mapping[str, Any] = content.get("stages") or {}
    return stages


def _written(graph: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for stage in graph.values():
        for kind in ("outs", "metrics", "plots"):
            found |= _paths(stage, kind)
    return found


def _paths(stage: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the paths of one kind in a stage, with the options that stand beside each."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in stage.get(kind, []):
        found |= {path: options or {} for path, options in entry.items()} if isinstance(entry, dict) else {entry: {}}
    return found


def _filled(path: str, content: Mapping[str, Any]) -> str:
    return str(content[path[2:-1]]) if path.startswith("${") and path.endswith("}") else path
