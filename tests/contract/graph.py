"""The graph as it stands in dvc.yaml, and as the code really is: what the contract tests set side by side.

Every function looks at this repository, or at a copy of it in which a test has planted a mistake (`root`).
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
# What holds parameters in the code of stages.
HOLDERS = ("params", "settings", "asked", "self")
PINS = "pins.yaml"
SCHEMAS = "import json, ollamake.params as p; print(json.dumps({k: [*s.model_fields] for k, s in p.schemas().items()}))"


@dataclass(frozen=True)
class Stage:
    name: str
    cmd: str
    deps: frozenset[str]
    outs: frozenset[str]
    params: frozenset[str]
    pins: frozenset[str]


def read_yaml(name: str, root: Path = ROOT) -> dict:
    return YAML(typ="safe").load(root / name)


@cache
def stages(root: Path = ROOT) -> dict[str, Stage]:
    found = {name: _stage(name, entry) for name, entry in read_yaml("dvc.yaml", root)["stages"].items()}
    assert len(found) >= 9
    return found


def _stage(name: str, entry: dict) -> Stage:
    listed = [key for kind in ("outs", "metrics", "plots") for key in entry.get(kind, [])]
    params = entry.get("params", [])
    return Stage(
        name=name,
        cmd=entry["cmd"],
        deps=frozenset(entry.get("deps", [])),
        outs=frozenset(key if isinstance(key, str) else next(iter(key)) for key in listed),
        params=frozenset(key for key in params if isinstance(key, str)),
        pins=frozenset(pin for group in params if isinstance(group, dict) for pin in group[PINS]),
    )


def inside(path: str, folder: str) -> bool:
    """Whether the path is the folder, or lies in it."""
    return path == folder or path.startswith(f"{folder}/")


def readers_of(path: str, source: str = "") -> set[str]:
    """The stages that list the file, or a folder that it lies in; `source` is the file or folder of `data_source`."""
    lists = {name: {dep.replace("${data_source}", source) for dep in stage.deps} for name, stage in stages().items()}
    return {name for name, deps in lists.items() if any(inside(path, dep) for dep in deps)}


def downstream(direct: Iterable[str]) -> set[str]:
    """The stages named and all that depend on them, by the outputs and dependencies of dvc.yaml."""
    graph, found = stages(), set(direct)
    while more := {name for name in graph if name not in found and any(_feeds(graph[up], graph[name]) for up in found)}:
        found |= more
    return found


def _feeds(one: Stage, other: Stage) -> bool:
    """Whether the second stage reads what the first writes."""
    return any(inside(dep, out) or inside(out, dep) for out in one.outs for dep in other.deps)


def code_of(stage: str, root: Path = ROOT) -> frozenset[str]:
    """The files of ours that the stage imports, directly or not, itself included; empty __init__ files left out."""
    return _closure(f"stages/{stage}.py", root)


@cache
def _closure(start: str, root: Path) -> frozenset[str]:
    found, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [file for module in imports_of(path, root) for file in _files(module, root)]
    return frozenset(file for file in found if (root / file).read_text().strip())


def code_in(dep: str, root: Path = ROOT) -> frozenset[str]:
    """The modules that a dependency stands for: itself, or everything in the folder; empty files left out."""
    files = (root / dep).rglob("*.py") if (root / dep).is_dir() else [root / dep] if dep.endswith(".py") else []
    return frozenset(str(file.relative_to(root)) for file in files if file.read_text().strip())


def code_not_listed(stage: str, root: Path = ROOT) -> set[str]:
    """What the stage imports, and dvc.yaml does not list: an edit there would leave an old result standing."""
    return set(code_of(stage, root) - _listed_code(stage, root))


def code_not_read(stage: str, root: Path = ROOT) -> set[str]:
    """What dvc.yaml lists, and the stage does not import: an edit there would run it for nothing."""
    return set(_listed_code(stage, root) - code_of(stage, root))


def _listed_code(stage: str, root: Path) -> frozenset[str]:
    return frozenset(file for dep in stages(root)[stage].deps for file in code_in(dep, root))


def schemas_of(root: Path = ROOT) -> dict[str, set[str]]:
    """The keys that each stage's Params asks for, as Python sees them there."""
    printed = subprocess.run([sys.executable, "-c", SCHEMAS], cwd=root, capture_output=True, text=True, check=True)
    return {name: set(keys) for name, keys in json.loads(printed.stdout).items()}


def keys_not_listed(root: Path = ROOT) -> dict[str, set[str]]:
    """The keys that a stage's Params asks for, and dvc.yaml does not list for it; stages without any left out."""
    asked = {name: keys - stages(root)[name].params for name, keys in schemas_of(root).items()}
    return {name: keys for name, keys in asked.items() if keys}


def keys_not_asked_for(root: Path = ROOT) -> dict[str, set[str]]:
    """The keys that dvc.yaml lists for a stage, and its Params does not ask for; stages without any left out."""
    listed = {name: set(stages(root)[name].params) - keys for name, keys in schemas_of(root).items()}
    return {name: keys for name, keys in listed.items() if keys}


def keys_of_nobody(root: Path = ROOT) -> set[str]:
    """The keys of params.yaml that no stage lists."""
    return set(read_yaml("params.yaml", root)) - {key for stage in stages(root).values() for key in stage.params}


def keys_not_used(stage: str, root: Path = ROOT) -> set[str]:
    """The keys that the stage lists and checks, but that no line of its code reads."""
    read = {key for file in code_of(stage, root) for key in keys_read_in(file, root)}
    params = stages(root)[stage].params
    # export hands all of its own on to the server at once
    handed_on = {key for key in params if stage == "export" and key.startswith("ollama_")}
    return set(params - handed_on - read)


def third_party_of(stage: str) -> frozenset[str]:
    """The distributions from the package index whose modules the stage imports, directly or through our code."""
    modules = {module.split(".")[0] for file in code_of(stage) for module in imports_of(file)}
    ours = {"ollamake", "stages", "tests"}
    distributions = packages_distributions()
    found = modules - ours - sys.stdlib_module_names
    return frozenset(distribution for name in found for distribution in distributions[name])


def _files(module: str, root: Path) -> Iterator[str]:
    """The files that an import runs: those of the packages on the way, and the module's own.

    The last part of `module` may be a name inside a module.
    """
    parts = module.split(".")
    if parts[0] in {"ollamake", "stages"}:
        for length in range(1, len(parts) + 1):
            path = "/".join(parts[:length])
            yield from (file for file in (f"{path}.py", f"{path}/__init__.py") if (root / file).is_file())


@cache
def keys_read_in(path: str, root: Path = ROOT) -> frozenset[str]:
    """Every name that the file reads as an attribute of what holds parameters."""
    nodes = [node for node in ast.walk(ast.parse((root / path).read_text())) if isinstance(node, ast.Attribute)]
    return frozenset(node.attr for node in nodes if ast.unparse(node.value).rpartition(".")[2] in HOLDERS)


@cache
def imports_of(path: str, root: Path = ROOT) -> frozenset[str]:
    """Every module that the file imports at any depth, but for those that only the type checker sees."""
    return frozenset(_imports(ast.parse((root / path).read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide from this walk"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from _imports(child)
