"""What the stages of a revision wrote, from DVC's cache by the digests in its dvc.lock; nothing is checked out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.compare.revision import Revision

Locate = Callable[[str], Path]  # the place of an object in DVC's cache, by its digest
FOLDER = ".dir"


class NotAtHandError(Exception):
    """An output cannot be read; the text says why, and what brings it, in one sentence."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of one revision; `lock` is the content of its dvc.lock."""

    revision: Revision
    lock: Mapping[str, Any]
    locate: Locate

    def digests(self, kind: str = "outs") -> dict[str, Mapping[str, Any]]:
        """Return what dvc.lock says of every output (or dependency, with `kind` deps), by path."""
        stages = self.lock.get("stages", {}).values()
        return {entry["path"]: entry for stage in stages for entry in stage.get(kind, [])}

    def path(self, name: str) -> Path:
        """Return a file with the content of the output `name`, which may lie in a folder that is an output.

        Raises NotAtHandError when the revision has no such output, or the cache does not hold it.
        """
        if self.revision.in_workspace and Path(name).is_file():
            return Path(name)
        known = self.digests()
        owner = next((path for path in (name, *map(str, Path(name).parents)) if path in known), "")
        if not owner:
            raise NotAtHandError(f"{self.revision.name} made no {name}: it is not in its dvc.lock")
        digest = str(known[owner].get("md5", ""))
        if digest.endswith(FOLDER):
            listed = json.loads(self._object(digest, owner).read_bytes())
            inside = {entry["relpath"]: entry["md5"] for entry in listed}
            digest = inside.get(str(Path(name).relative_to(owner)), "")
        return self._object(digest, owner)

    def _object(self, digest: str, owner: str) -> Path:
        place = self.locate(digest) if digest else None
        if place is None or not place.is_file():
            raise NotAtHandError(
                f"{owner} of {self.revision.name} is not in DVC's cache: {self._fetching(owner)} brings it, "
                "if a remote has it"
            )
        return place

    def _fetching(self, owner: str) -> str:
        if self.revision.is_experiment:
            return f"`dvc exp pull origin {self.revision.name}`"
        return f"`dvc fetch {owner}`" if self.revision.in_workspace else f"`dvc fetch --all-commits {owner}`"


def cache_of(folder: Path) -> Locate:
    """Return where DVC's cache for that project keeps an object. Raises RevisionError where there is no project."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from ollamake.compare.revision import RevisionError

    try:
        with Repo(str(folder)) as repo:
            local = repo.cache.local
    except DvcException as error:
        raise RevisionError(f"this is no DVC project: {error}", hint="go to the folder with dvc.yaml") from error
    return lambda digest: Path(local.oid_to_path(digest))
