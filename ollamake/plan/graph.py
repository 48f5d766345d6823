"""What `dvc repro` would do to each stage, and why: DVC's own comparisons, made without running or writing anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import networkx as nx
from dvc.exceptions import DvcException
from dvc_data.hashfile.hash_info import HashInfo

from ollamake.errors import ParamsError
from ollamake.plan import reasons

# runs: in any case; follows: if what runs before it writes anything new; restored: from DVC's cache, without running.
Fate = Literal["runs", "follows", "restored", "unchanged"]
CODE = ("ollamake", "stages")
ALWAYS = "it looks at the server every time"


@dataclass(frozen=True)
class Step:
    """What becomes of a stage; `outs` are the md5s that it will have left, by path, where that is known.

    `missing` are inputs that no stage makes and that are not there, so that it cannot run.
    """

    stage: str
    fate: Fate
    reasons: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    outs: dict[str, str] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        """Whether the stage's command may have to run."""
        return self.fate in ("runs", "follows")


def foresee(repository: Any, target: str | None) -> list[Step]:
    """Return the stages that `dvc repro`, or `dvc repro target`, looks at, in its order.

    Raises ParamsError for a target that is no stage.
    """
    stages = list(_ordered(repository.index.graph, target))
    known: dict[str, Any] = {}  # hashes of what restored stages will have left, by path
    coming: dict[str, Any] = {}  # the stages that are going to run, by the paths that they write
    steps: list[Step] = []
    for stage in stages:
        steps.append(_step(repository, stage, coming, known))
        if steps[-1].works:
            coming |= dict.fromkeys(map(str, stage.outs), stage)
    return steps


def code_of(repository: Any, stage: str) -> dict[str, str]:
    """Return the md5s of the modules that a stage runs, by path."""
    found = next(one for one in repository.index.stages if one.addressing == stage)
    return {str(item): item.get_hash().value for item in found.deps if str(item).startswith(CODE)}


def _ordered(graph: Any, target: str | None) -> Iterator[Any]:
    names = {stage.addressing: stage for stage in graph}
    if target is not None and target not in names:
        known = ", ".join(stage.addressing for stage in nx.dfs_postorder_nodes(graph))
        raise ParamsError(f"{target} is no stage", where="dvc.yaml", hint=f"one of {known}")
    yield from nx.dfs_postorder_nodes(graph, names[target] if target else None)


def _step(repository: Any, stage: Any, coming: dict[str, Any], known: dict[str, Any]) -> Step:
    """Return what becomes of a stage, and enter what it restores into `known`."""
    name, awaited = stage.addressing, {str(item): _maker(str(item), coming) for item in stage.deps}
    changed = _changed(stage, awaited, known)
    own = reasons.of_stage(stage, changed)
    above = _nearest(repository.index.graph, [maker for maker in awaited.values() if maker])
    after = [f"because {listed(above)} will run"] if above else []
    # A stage without a command is a file that `dvc add` tracks.
    needed = stage.deps if stage.cmd else stage.outs
    missing = tuple(str(item) for item in needed if changed.get(str(item)) == "deleted")
    if stage.always_changed:
        return Step(name, "runs", (*own, *after, ALWAYS), missing)
    if above:
        return Step(name, "runs" if own else "follows", (*own, *after), missing)
    if not own:
        return Step(name, "unchanged", outs={str(out): out.hash_info.value for out in stage.outs})
    if not stage.cmd or (outs := _restored(repository, stage, known)) is None:
        return Step(name, "runs", tuple(own), missing)
    known |= {path: HashInfo("md5", md5) for path, md5 in outs.items()}
    return Step(name, "restored", tuple(own), outs=outs)


def _nearest(graph: Any, makers: list[Any]) -> list[str]:
    """Return the names of the stages that run last: what runs before one of them goes without saying."""
    before = {other for maker in makers for other in nx.descendants(graph, maker)}
    return list(dict.fromkeys(maker.addressing for maker in makers if maker not in before))


def listed(names: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _maker(path: str, coming: dict[str, Any]) -> Any:
    """Return the stage that is going to write `path`, a folder around it or something in it; None if there is none."""
    near = (maker for out, maker in coming.items() if f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/"))
    return next(near, None)


def _changed(stage: Any, awaited: dict[str, Any], known: dict[str, Any]) -> dict[str, str]:
    """Return what DVC says of the files that are not as dvc.lock has them, by path.

    What a restored stage is going to put back is compared as it will be, what a stage is going to write not at all.
    """
    found: dict[str, str] = {}
    for item in [*stage.deps, *stage.outs]:
        path = str(item)
        if hasattr(item, "params") or awaited.get(path):
            continue
        if path in known:
            found |= {path: "modified"} if item.hash_info != known[path] else {}
        elif status := item.status():
            found[path] = "new" if not item.hash_info and status[path] == "modified" else str(status[path])
    return found


def _restored(repository: Any, stage: Any, known: dict[str, Any]) -> dict[str, str] | None:
    """Return the md5s of what DVC has kept of a run of this stage on these inputs, by path; None for no such run."""
    try:
        for item in stage.deps:
            now = known.get(str(item)) or item.get_hash()
            # Where the inputs are those of dvc.lock, DVC restores what that tells of, else it looks into its run cache;
            # the comparison would be with the hashes that are entered here.
            stage.cmd_changed = stage.cmd_changed or now != item.hash_info
            item.hash_info = now
        repository.stage_cache.restore(stage, dry=True)
        entry = repository.stage_cache._load(stage) if stage.cmd_changed else None  # noqa: SLF001 - restore does not tell
    except (DvcException, OSError):  # RunCacheNotFoundError is a DvcException
        return None
    if entry is None:
        return {str(out): out.hash_info.value for out in stage.outs}
    return {out["path"]: out["md5"] for out in entry["outs"]}
