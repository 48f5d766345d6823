"""The beginning of `sweep run` and `sweep resume`: checks, the study, the code that its trials run."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollamake.sweep.check import World, check, look
from ollamake.sweep.errors import SweepError
from ollamake.sweep.graph import DVC_YAML, read_graph
from ollamake.sweep.ownership import IDENTITY, new_identity, owns, refuse_foreign, take_possession
from ollamake.sweep.report_data import find_study
from ollamake.sweep.search import await_introduction, begin, introduce, read_spec_of, require_same
from ollamake.sweep.snapshot import OWN_FILES, Snapshot, exclusive, git, known, take
from ollamake.sweep.spec import FILE, Spec, read_spec
from ollamake.sweep.storage import open_storage, own_folder, own_studies
from ollamake.sweep.trial import Sweep
from ollamake.sweep.url import shared

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def begin_sweep(path: Path, url: str | None, say: Callable[[str], None]) -> Sweep:
    """Return the sweep that the file describes, begun or to be gone on with. Raises OllamakeError before any work."""
    spec = read_spec(path)
    world = look()
    check(spec, world, path)
    return _open(spec, url, say, (world, _own_files(path)))


def resume_sweep(name: str | None, url: str | None, say: Callable[[str], None]) -> Sweep:
    """Return the sweep that the study of that name is about, whatever sweep.yaml says now."""
    return _open(read_spec_of(find_study(url, name)), url, say, None)


def _open(spec: Spec, url: str | None, say: Callable[[str], None], new: tuple[World, list[str]] | None) -> Sweep:
    folder = own_folder(spec.name)
    with exclusive(folder, "begin"):
        if new and not _exists(spec.name, url):  # refused before there is a study
            refuse_foreign(folder, url, None)
            _refuse_taken_names(spec, [])
            take(folder, new[1])
        study, is_new = begin(open_storage(url, spec.name), spec)
        if new and is_new:
            snapshot = _begin(study, spec, folder, *new)
            say(f"{spec.name}: every trial runs the code as it is now, whatever is edited meanwhile")
        else:
            snapshot = _join(study, spec, folder, url, new[1] if new else None)
            say(f"{spec.name}: goes on with the code that it began with, on commit {snapshot.base_rev[:10]}")
        take_possession(snapshot, url, study)
    graph = read_graph(git("show", f"{snapshot.tree}:{DVC_YAML}", cwd=snapshot.code))
    return Sweep(spec, study, snapshot, graph, say)


def _begin(study: "Study", spec: Spec, folder: Path, world: World, own_files: list[str]) -> Snapshot:
    snapshot = known(folder) or take(folder, own_files)
    study.set_user_attr(IDENTITY, new_identity())
    study.set_user_attr(OWN_FILES, own_files)
    introduce(study, spec, snapshot, world.content, _default(spec, world))
    return snapshot


def _join(study: "Study", spec: Spec, folder: Path, url: str | None, own_files: list[str] | None) -> Snapshot:
    """Return the code that the study began with: kept here, or, on another machine, what is checked out there."""
    await_introduction(study)
    refuse_foreign(folder, url, study)
    if not owns(study, folder):
        _refuse_taken_names(spec, study.get_trials(deepcopy=False))
    snapshot = known(folder)
    if snapshot is None or snapshot.tree != study.user_attrs.get("workspace"):
        snapshot = take(folder, own_files or study.user_attrs.get(OWN_FILES, [str(FILE)]))
    require_same(study, spec, snapshot.tree)
    return snapshot


def _own_files(path: Path) -> list[str]:
    """Return the files that describe sweeps, which trials do without: sweep.yaml, and the one that was named."""
    absolute, here = path.absolute(), Path.cwd()
    named = [absolute.relative_to(here).as_posix()] if absolute.is_relative_to(here) else []
    return sorted({str(FILE), *named})


def _exists(name: str, url: str | None) -> bool:
    if not shared(url):
        return name in own_studies()
    return any(study.study_name == name for study in open_storage(url, name).get_all_studies())


def _default(spec: Spec, world: World) -> dict[str, Any]:
    """Return what the commit that is checked out came to, and its values in the space and of what is fixed."""

    def values(names: Iterable[str]) -> dict[str, Any]:
        return {name: world.content[name] for name in names}

    return {"metrics": world.metrics, "params": values(spec.space), "fixed": values(spec.fixed)}


def _refuse_taken_names(spec: Spec, trials: "Sequence[FrozenTrial]") -> None:
    """Raise SweepError for experiments of the sweep's names that are not those of its trials."""
    revs = {trial.user_attrs.get("rev") for trial in trials}
    lines = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    refs = [ref for rev, _, ref in (line.partition(" ") for line in lines) if rev not in revs]
    taken = [ref.rpartition("/")[2] for ref in refs if re.search(rf"/{re.escape(spec.name)}-\d+$", ref)]
    if taken:
        raise SweepError(
            f"experiments of an earlier sweep of this name are here, such as {taken[0]}",
            where=spec.name,
            hint=f"another `name:`, or `dvc exp remove {' '.join(taken)}`",
        )
