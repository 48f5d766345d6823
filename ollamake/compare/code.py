"""The section about code: which files differ, and which stages read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ollamake.compare.build import GRAPH, LOCK, PARAMS, PINS, Build
from ollamake.compare.document import Section
from ollamake.compare.revision import lines
from ollamake.compare.table import Cell, Line, Table

SHOWN = 4  # files named in a cell
NOT_CODE = {PARAMS, PINS, LOCK}  # shown as parameters, as versions, and as what they come to
RESULTS = ("metrics", "plots")


@dataclass(frozen=True)
class Changed:
    """A file with other content, and how many lines came and went; None for a file that is no text.

    One that git does not track is `untracked`.
    """

    path: str
    added: int | None = None
    removed: int | None = None
    untracked: bool = False

    @property
    def size(self) -> str:
        """How much changed."""
        if self.untracked:
            return "untracked"
        return "binary" if self.added is None else f"+{self.added:,} -{self.removed:,}"


def code(builds: Sequence[Build]) -> Section:
    """Return the files that differ from the reference, by the stages that depend on them."""
    tables, notes = [], []
    for build in builds[1:]:
        changed = [each for each in _changed(builds[0], build) if not _is_result(each.path, builds[0], build)]
        table, left = _by_stage(changed, builds[0], build)
        tables.append(table)
        if left:
            notes.append(f"{build.name}: no stage depends on {_many(left)} more that changed")
        if any(each.path == GRAPH for each in changed):
            notes.append(f"{build.name}: dvc.yaml itself differs, `git diff` shows how")
    return Section("Code", tables, notes, same="no stage depends on code that differs")


def _changed(reference: Build, build: Build) -> Iterator[Changed]:
    """Yield the files that git knows to differ; in the workspace also those that it does not know."""
    one, other = reference.revision, build.revision
    commits = [each.commit for each in (one, other) if each.commit]
    # Against the workspace, git counts from the commit to the files; here the workspace may come first.
    backwards = ["-R"] if one.in_workspace else []
    for line in lines("diff", "--numstat", "--no-renames", "--relative", *backwards, *commits, "--"):
        *counts, path = line.split("\t", maxsplit=2)
        added, removed = (None if count == "-" else int(count) for count in counts)
        yield Changed(path, added, removed)
    if one.in_workspace or other.in_workspace:
        yield from (Changed(path, untracked=True) for path in lines("ls-files", "--others", "--exclude-standard"))


def _is_result(path: str, *builds: Build) -> bool:
    made = {file for build in builds for file in build.outputs.digests()}
    declared = {file for build in builds for kind in RESULTS for file in build.declared(kind)}
    return path in NOT_CODE | made | declared


def _by_stage(changed: Sequence[Changed], reference: Build, build: Build) -> tuple[Table, int]:
    """Return a line for each stage, and how many files no stage depends on."""
    found, read = [], set()
    for stage in dict.fromkeys([*build.stages, *reference.stages]):
        deps = {dep for each in (reference, build) for dep in _deps(each, stage)}
        files = [each for each in changed if _within(each.path, deps)]
        read |= {each.path for each in files}
        if files:
            added, removed = (sum(getattr(each, name) or 0 for each in files) for name in ("added", "removed"))
            built = _built(stage, deps, files, reference, build)
            cells = [_many(len(files)), f"+{added:,} -{removed:,}", _named(files), built]
            found.append(Line(stage, list(map(Cell, cells))))
    head = ["stage", "files", "lines", "which", "built with it"]
    left = sum(each.path not in read and each.path != GRAPH for each in changed)
    return Table(head, found, f"{build.name} against {reference.name}", texts=True), left


def _built(stage: str, deps: set[str], files: Sequence[Changed], reference: Build, build: Build) -> str:
    """Return whether the two builds' results were made with code that differs, as far as dvc.lock tells."""
    before, after = (_digests(each, stage) for each in (reference, build))
    touched = [dep for dep in deps if any(_within(each.path, {dep}) for each in files)]
    if not (before and after):
        return "?"
    return "yes" if any(before.get(dep) != after.get(dep) for dep in touched) else "not yet"


def _digests(build: Build, stage: str) -> dict[str, Any]:
    entry: Mapping[str, Any] = build.lock.get("stages", {}).get(stage, {})
    return {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}


def _deps(build: Build, stage: str) -> list[str]:
    return [dep for dep in build.stages.get(stage, {}).get("deps", []) if isinstance(dep, str)]


def _within(path: str, deps: set[str]) -> bool:
    return any(str(each) in deps for each in (path, *PurePosixPath(path).parents))


def _named(files: Sequence[Changed]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(f"{each.path} ({each.size})" for each in files[:SHOWN]) + more


def _many(files: int) -> str:
    return "1 file" if files == 1 else f"{files:,} files"
