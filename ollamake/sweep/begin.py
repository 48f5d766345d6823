"""The beginning of `sweep run` and `sweep resume`: checks, the study, the code that its trials run."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ollamake.sweep.check import World, check, look
from ollamake.sweep.errors import SweepError
from ollamake.sweep.graph import DVC_YAML, read_graph
from ollamake.sweep.report_data import find_study
from ollamake.sweep.search import await_introduction, begin, introduce, read_spec_of, require_same
from ollamake.sweep.snapshot import Snapshot, exclusive, git, known, take
from ollamake.sweep.spec import Spec, read_spec
from ollamake.sweep.storage import open_storage, own_folder, own_studies
from ollamake.sweep.trial import Sweep
from ollamake.sweep.url import shared


def begin_sweep(path: Path, url: str | None, say: Callable[[str], None]) -> Sweep:
    """Return the sweep that the file describes, begun or to be gone on with. Raises OllamakeError before any work."""
    spec = read_spec(path)
    world = look()
    check(spec, world, path)
    return _open(spec, url, say, world)


def resume_sweep(name: str | None, url: str | None, say: Callable[[str], None]) -> Sweep:
    """Return the sweep that the study of that name is about, whatever sweep.yaml says now."""
    return _open(read_spec_of(find_study(url, name)), url, say, None)


def _open(spec: Spec, url: str | None, say: Callable[[str], None], world: World | None) -> Sweep:
    folder = own_folder(spec.name)
    with exclusive(folder, "begin"):
        if world and not _exists(spec.name, url):  # refused before there is a study
            _refuse_taken_names(spec)
            take(folder)
        study, is_new = begin(open_storage(url, spec.name), spec)
        if world and is_new:
            snapshot = known(folder) or take(folder)
            introduce(study, spec, snapshot, world.content, _default(spec, world))
            say(f"{spec.name}: every trial runs the code as it is now, whatever is edited meanwhile")
        else:
            await_introduction(study)
            snapshot = _snapshot(folder, study.user_attrs.get("workspace", ""))
            require_same(study, spec, snapshot.tree)
            say(f"{spec.name}: goes on with the code that it began with, on commit {snapshot.base_rev[:10]}")
    graph = read_graph(git("show", f"{snapshot.tree}:{DVC_YAML}", cwd=snapshot.code))
    return Sweep(spec, study, snapshot, graph, say)


def _exists(name: str, url: str | None) -> bool:
    if not shared(url):
        return name in own_studies()
    return any(study.study_name == name for study in open_storage(url, name).get_all_studies())


def _snapshot(folder: Path, tree: str) -> Snapshot:
    """Return the code that the study began with: kept here, or, on another machine, what is checked out there."""
    kept = known(folder)
    return kept if kept and kept.tree == tree else take(folder)


def _default(spec: Spec, world: World) -> dict[str, Any]:
    """Return what the commit that is checked out came to, and its values in the space and of what is fixed."""

    def values(names: Iterable[str]) -> dict[str, Any]:
        return {name: world.content[name] for name in names}

    return {"metrics": world.metrics, "params": values(spec.space), "fixed": values(spec.fixed)}


def _refuse_taken_names(spec: Spec) -> None:
    refs = git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    taken = [ref.rpartition("/")[2] for ref in refs if re.search(rf"/{re.escape(spec.name)}-\d+$", ref)]
    if taken:
        raise SweepError(
            f"experiments of an earlier sweep of this name are here, such as {taken[0]}",
            where=spec.name,
            hint=f"another `name:`, or `dvc exp remove {' '.join(taken)}`",
        )
