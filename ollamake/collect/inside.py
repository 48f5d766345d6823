"""The files that an entry of sources.yaml names, all in its own folder: DVC watches nothing else."""

import os.path
from pathlib import Path, PurePosixPath

from ollamake.data.formats.listing import list_files
from ollamake.errors import DataError

PATTERN = frozenset("*?[")


def files_inside(folder: Path, named: str) -> list[Path]:
    """Return the data files that `named`, a file, folder or pattern in `folder`, stands for. Raises DataError."""
    if PATTERN.isdisjoint(named) or (folder / named).exists():
        return list_files(path_inside(folder, named))
    _refuse_outside(folder, named)
    return list_files(folder, named)


def path_inside(folder: Path, named: str) -> Path:
    """Return the path of what `named` names in `folder`. Raises DataError when it is not there, or elsewhere."""
    _refuse_outside(folder, named)
    path = folder / named
    if not path.exists():
        raise DataError(f"there is no {named} in this folder", where=str(folder), hint=f"`ls {folder}` shows what is")
    target = os.path.realpath(path)
    if not Path(target).is_relative_to(os.path.realpath(folder)):
        # DVC hashes what a link to a file leads to, but does not look into linked folders (tried with DVC 3).
        reason = (
            "DVC, which does not look into linked folders, would not notice a change there"
            if path.is_dir()
            else "a copy of this folder, as queued experiments work in, may not have it"
        )
        raise _outside(folder, f"{named} is a link to {target}", reason)
    return path


def _refuse_outside(folder: Path, named: str) -> None:
    if named.startswith(("/", "~")) or ".." in PurePosixPath(named).parts:
        raise _outside(folder, named, "DVC, which watches only this folder, would not notice a change there")


def _outside(folder: Path, what: str, reason: str) -> DataError:
    return DataError(
        f"{what}, outside this folder, and {reason}", where=str(folder), hint=f"move or copy it into {folder}"
    )
