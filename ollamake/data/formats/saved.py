"""A folder that `datasets.save_to_disk` wrote: which Arrow files it consists of, in their order."""

import json
from pathlib import Path
from typing import Any

from ollamake.errors import DataError


def saved_files(folder: Path) -> list[Path]:
    """Return the files of a saved data set, those of every split of a saved DatasetDict; none for another folder."""
    splits = _read(folder / "dataset_dict.json").get("splits")
    if isinstance(splits, list):
        return [file for name in splits for file in _files(_inside(folder, name))]
    return _files(folder)


def _files(folder: Path) -> list[Path]:
    state = _read(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            "was saved with a selection of rows beside it, as old versions of datasets did",
            where=str(folder),
            hint="`datasets.load_from_disk(folder).flatten_indices().save_to_disk(another)` writes just those rows",
        )
    files = state.get("_data_files")
    if not isinstance(files, list):
        return []
    return [_inside(folder, file.get("filename") if isinstance(file, dict) else file) for file in files]


def _inside(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or name in ("", "..") or "\0" in name or Path(name).name != name:
        raise DataError(
            f"names a file that does not lie beside it: {name!r:.80}",
            where=str(folder),
            hint="save the data set again with `save_to_disk`, or name its .arrow files in data_files",
        )
    return folder / name


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # then it is a folder like any other
    return content if isinstance(content, dict) else {}
