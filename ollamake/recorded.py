"""What the stages recorded of their outputs in dvc.lock, held against the bytes that lie here.

DVC does not look: a file whose times are the old ones, or a write-protected one in its cache, is taken for what it was.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ollamake.errors import ConversionError

LOCK = Path("dvc.lock")
FOLDER = ".dir"  # DVC's mark of an md5 that is of a folder's list of files
# What is sent to a server, and what that was made of.
WEIGHTS = (Path("models/gguf"), Path("models/tuned"))


def file_md5(path: Path) -> str:
    """Return the md5 of the file, 32 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def md5(path: Path) -> str:
    """Return the md5 by which DVC knows a file, or a folder: that of the list of its files, which ends in FOLDER."""
    if not path.is_dir():
        return file_md5(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return list_md5({"md5": file_md5(file), "relpath": name} for name, file in files)


def list_md5(entries: Iterable[Mapping[str, str]]) -> str:
    """Return the md5 of a folder with these files, in the order of their names."""
    text = json.dumps([dict(entry) for entry in entries], sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + FOLDER


def recorded() -> dict[str, str]:
    """Return the md5 of every output in dvc.lock by its path; nothing where nothing was built.

    Raises ConversionError for a dvc.lock that cannot be read.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content: Any = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))
        outs = [out for stage in content["stages"].values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if "md5" in out}
    except FileNotFoundError:
        return {}
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConversionError("cannot be read", where=str(LOCK), hint=f"`git checkout HEAD -- {LOCK}`") from error


def require_recorded_weights() -> None:
    """Raise ConversionError unless the weights are, byte for byte, what the stages wrote.

    What they were made of may be elsewhere by now, as after `dvc pull convert`; the GGUF may not.
    """
    known = recorded()
    for folder in WEIGHTS:
        if folder == WEIGHTS[0] or folder.exists():
            _require(folder, known.get(str(folder)))


def _require(folder: Path, expected: str | None) -> None:
    if expected is None:
        raise ConversionError(
            f"{LOCK} records nothing of it, so nobody knows whether it is what the build wrote",
            where=str(folder),
            hint="`dvc repro` builds and records it",
        )
    if md5(folder) != expected:
        raise ConversionError(
            f"it is not what {LOCK} records: it was altered after it was written, so nothing is sent",
            where=str(folder),
            hint="`python -m ollamake verify` names the altered files, and the commands that mend each",
        )
