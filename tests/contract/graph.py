"""The graph as it stands in dvc.yaml, and as the code really is: what the contract tests set side by side."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PINS = "pins.yaml"


@dataclass(frozen=True)
class Stage:
    name: str
    cmd: str
    deps: frozenset[str]
    outs: frozenset[str]
    params: frozenset[str]
    pins: frozenset[str]


def read_yaml(name: str) -> dict:
    return YAML(typ="safe").load(ROOT / name)


def stages() -> dict[str, Stage]:
    found = {name: _stage(name, entry) for name, entry in read_yaml("dvc.yaml")["stages"].items()}
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


def code_of(stage: str) -> frozenset[str]:
    """The files of ours that the stage imports, directly or not, itself included; empty __init__ files left out."""
    return _closure(f"stages/{stage}.py")


@cache
def _closure(start: str) -> frozenset[str]:
    found, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [file for module in imports_of(path) for file in _files(module)]
    return frozenset(file for file in found if (ROOT / file).read_text().strip())


def code_in(dep: str) -> frozenset[str]:
    """The modules that a dependency stands for: itself, or everything in the folder; empty files left out."""
    files = (ROOT / dep).rglob("*.py") if (ROOT / dep).is_dir() else [ROOT / dep] if dep.endswith(".py") else []
    return frozenset(str(file.relative_to(ROOT)) for file in files if file.read_text().strip())


def third_party_of(stage: str) -> frozenset[str]:
    """The distributions from the package index whose modules the stage imports, directly or through our code."""
    modules = {module.split(".")[0] for file in code_of(stage) for module in imports_of(file)}
    ours = {"ollamake", "stages", "tests"}
    distributions = packages_distributions()
    found = modules - ours - sys.stdlib_module_names
    return frozenset(distribution for name in found for distribution in distributions[name])


def _files(module: str) -> Iterator[str]:
    """The files that an import runs: those of the packages on the way, and the module's own.

    The last part of `module` may be a name inside a module.
    """
    parts = module.split(".")
    if parts[0] in {"ollamake", "stages"}:
        for length in range(1, len(parts) + 1):
            path = "/".join(parts[:length])
            yield from (file for file in (f"{path}.py", f"{path}/__init__.py") if (ROOT / file).is_file())


@cache
def attributes_in(path: str) -> frozenset[str]:
    """Every name that the file reads as an attribute of something."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    return frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))


@cache
def imports_of(path: str) -> frozenset[str]:
    """Every module that the file imports at any depth, but for those that only the type checker sees."""
    return frozenset(_imports(ast.parse((ROOT / path).read_text())))


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
