"""The objects in DVC's cache against their names, which are the md5 of their bytes: DVC itself does not look."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject
from ollamake.recorded import FOLDER, file_md5

QUICK_BYTES = 1 << 29


def objects(subject: Subject) -> Verdict:
    """Hash what dvc.lock names, the smaller first, up to QUICK_BYTES; with `deep`, the whole cache."""
    store = store_of(subject)
    named_in_lock = list(recorded(subject))
    missing = sorted({file.name for file in named_in_lock if not file.is_file()})
    there = set(store.glob("??/*")) if subject.deep else {file for file in named_in_lock if file.is_file()}
    if not there:
        raise SkippedError("the cache holds nothing of the last build" if named_in_lock else "nothing was built yet")
    chosen = list(_chosen(there, None if subject.deep else QUICK_BYTES))
    broken = [file for file in chosen if not is_whole(file)]
    if broken:
        folder = store if len(broken) > 1 else broken[0].parent
        files = shlex.join(str(file.relative_to(folder)) for file in broken)
        return failure(
            f"{len(broken)} of {len(chosen)} objects in the cache are not what they were: {_users(broken, subject)}",
            f"`cd {shlex.quote(str(folder))} && rm -f {files}`; "
            "then `dvc fetch` from a remote, or `dvc repro -f -s STAGE`",
        )
    left = len(there) - len(chosen)
    rest = f"; {left} large left out, `--deep` takes all" if left else ""
    if missing:
        return warning(
            f"{len(missing)} objects of the last build are not in the cache; the {len(chosen)} there are whole{rest}",
            "`dvc fetch` brings them from a remote; else their stages run again when they are needed",
        )
    return fine(f"{len(chosen)} of {len(there)} objects hashed, all whole{rest}")


def store_of(subject: Subject) -> Path:
    """Return the folder of the cache in which the objects lie."""
    return subject.cache / "files" / "md5"


def is_whole(file: Path) -> bool:
    """Tell whether the bytes of a cache object have the md5 that is its name."""
    return file_md5(file) == name_of(file).removesuffix(FOLDER)


def name_of(file: Path) -> str:
    """Return the md5 that is the name of an object."""
    return f"{file.parent.name}{file.name}"


def place_of(store: Path, md5: str) -> Path:
    """Return where the object of this md5 lies."""
    return store / md5[:2] / md5[2:]


def recorded(subject: Subject) -> Iterator[Path]:
    """Yield the objects of all cached outputs in dvc.lock, those of the files in folders included."""
    cached, store = set(subject.outputs), store_of(subject)
    for stage in subject.lock.values():
        for out in stage.get("outs", []):
            if out["path"] not in cached or out.get("hash") != "md5":
                continue
            file = place_of(store, out["md5"])
            yield file
            if out["md5"].endswith(FOLDER) and file.is_file():
                yield from (place_of(store, entry["md5"]) for entry in listed(file))


def listed(file: Path) -> list[dict[str, str]]:
    """Return the files of a folder, `md5` and `relpath` of each, by its object; none of one that cannot be read."""
    try:
        content: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return []  # not what it was, as its hash will show
    return content


def users(damaged: set[str], subject: Subject) -> list[tuple[str, str]]:
    """Return the outputs of the last build, each with its stage, that objects of these md5s belong to."""
    store, found = store_of(subject), []
    for name, stage in subject.lock.items():
        for out in stage.get("outs", []):
            known = {str(out.get("md5"))}
            if str(out.get("md5")).endswith(FOLDER) and (listing := place_of(store, out["md5"])).is_file():
                known |= {entry["md5"] for entry in listed(listing)}
            if known & damaged:
                found.append((out["path"], name))
    return found


def _chosen(files: set[Path], limit_bytes: int | None) -> Iterator[Path]:
    total = 0
    for size, file in sorted((file.stat().st_size, file) for file in files):
        total += size
        if limit_bytes is not None and total > limit_bytes:
            return
        yield file


def _users(broken: list[Path], subject: Subject) -> str:
    """Return the outputs that damaged objects belong to, or their names where the last build has none of them."""
    damaged = {name_of(file) for file in broken}
    return named([f"{path} (stage {stage})" for path, stage in users(damaged, subject)] or sorted(damaged))
