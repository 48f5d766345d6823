"""What the build came from and wrote: the base model in the store, the outputs in the workspace, DVC's cache."""

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ollamake.base import RECORD, store
from ollamake.doctor import objects
from ollamake.doctor.finding import SkippedError
from ollamake.doctor.subject import Subject
from ollamake.errors import ConversionError
from ollamake.files import read_json
from ollamake.recorded import FOLDER, recorded
from ollamake.verify.hashing import Hashes
from ollamake.verify.part import Expected, Flaw, Part

BASE, CACHE = "base model", "DVC's cache"


def base_model() -> Part:
    """Return the files of the base model in the store, which models/base.json pins by their sha256."""
    try:
        record = read_json(RECORD)
        folder, files = store() / "base" / record["key"], record["files"].items()
    except FileNotFoundError:
        return Part(BASE, skipped="no base model was fetched yet")
    except (ValueError, KeyError, TypeError) as error:
        return Part(BASE, flaws=(Flaw(str(RECORD), f"cannot be read ({error})", "what stands below at fetch"),))
    if not folder.is_dir():
        return Part(BASE, skipped=f"{record['name']} is not in the store: `dvc repro fetch` brings it")
    return Part(BASE, tuple(Expected(folder / name, "sha256", digest, _fetch(folder / name)) for name, digest in files))


def _fetch(file: Path) -> partial[str]:
    # Folders of one model with several templates share the weights: fetch would take the altered ones again.
    where = shlex.quote(str(store()))
    gone = f"find {where}/base -samefile {shlex.quote(str(file))} -delete; " if file.exists() else ""
    return partial(str, f"`{gone}dvc repro --force --single-item fetch`")


def outputs(subject: Subject, hashes: Hashes) -> Iterator[Part]:
    """Yield what each stage wrote, as far as it is here, by the md5 in dvc.lock."""
    cached = set(subject.outputs)
    for name, stage in subject.lock.items():
        outs = [out for out in stage.get("outs", []) if "md5" in out]
        here = [out for out in outs if Path(out["path"]).exists()]
        if not outs:
            continue
        if not here:
            yield Part(name, skipped="its outputs are not here: `dvc checkout` brings them")
            continue
        looked = [_looked_at(out, name, out["path"] in cached, subject, hashes) for out in here]
        gone = f"{len(outs) - len(here)} of {len(outs)} outputs are not here" if len(here) < len(outs) else ""
        files = tuple(file for files, _ in looked for file in files)
        yield Part(name, files, tuple(flaw for _, flaws in looked for flaw in flaws), note=gone)


def _looked_at(
    out: Mapping[str, Any], stage: str, cached: bool, subject: Subject, hashes: Hashes
) -> tuple[list[Expected], list[Flaw]]:
    """Return the files of an output; of a folder by its list in the cache, so that the altered one can be named."""
    path, digest, store_folder = Path(out["path"]), str(out["md5"]), objects.store_of(subject)
    listing = objects.place_of(store_folder, digest)
    mend = partial(_remedy, path, stage, subject if cached else None, hashes)
    known = digest.endswith(FOLDER) and listing.is_file() and objects.is_whole(listing)
    if not known:
        return [Expected(path, "md5", digest, partial(mend, digest))], []
    entries = objects.listed(listing)
    files = [Expected(path / one["relpath"], "md5", one["md5"], partial(mend, one["md5"])) for one in entries]
    names = {file.path for file in files}
    more = sorted(file for file in path.rglob("*") if file.is_file() and file not in names)
    return files, [Flaw(str(file), f"was not written by {stage}", f"`rm -f {shlex.quote(str(file))}`") for file in more]


def _remedy(path: Path, stage: str, subject: Subject | None, hashes: Hashes, digest: str) -> str:
    if subject is None:
        return f"`git checkout HEAD -- {path}`, or `dvc repro --force --single-item {stage}`"
    found = objects.place_of(objects.store_of(subject), digest)
    if found.is_file() and hashes.of(found, "md5") == digest.removesuffix(FOLDER):
        # Not `dvc checkout --force`: where the times are the old ones, it takes the file for unchanged.
        return f"`rm -rf {path} && dvc checkout {path}`"
    return _anew(f"rm -rf {shlex.quote(str(found))} {path}", stage)


def _anew(gone: str, stage: str) -> str:
    # The object has to go first: DVC takes the one that is there, and would bring the altered bytes back.
    fetched = f"dvc fetch {stage} && dvc checkout {stage}"
    return f"`{gone}`, then `{fetched}` from a remote, or `dvc repro --force --single-item {stage}`"


def cache(subject: Subject, hashes: Hashes) -> Part:
    """Return the objects of the last build in DVC's cache, whose names are their md5."""
    named = set(objects.recorded(subject))
    there = sorted(file for file in named if file.is_file())
    if not there:
        return Part(CACHE, skipped="it holds nothing of the last build")
    missing = f"{len(named) - len(there)} of {len(named)} objects are not here" if len(there) < len(named) else ""
    files = (
        Expected(
            file,
            "md5",
            objects.name_of(file).removesuffix(FOLDER),
            partial(_object_remedy, file, subject, hashes),
        )
        for file in there
    )
    return Part(CACHE, tuple(files), note=missing)


def _object_remedy(file: Path, subject: Subject, hashes: Hashes) -> str:
    gone = f"rm -f {shlex.quote(str(file))}"
    [*users] = objects.users({objects.name_of(file)}, subject)
    if not users:  # of a folder whose list is damaged as well
        return f"`{gone}`, then `dvc fetch`"
    path, stage = users[0]
    if _is_whole_here(Path(path), stage, subject, hashes):
        return f"`{gone} && dvc commit --force {stage}`, which takes {path} as it lies here"
    return _anew(f"rm -rf {shlex.quote(str(file))} {path}", stage)


def _is_whole_here(path: Path, stage: str, subject: Subject, hashes: Hashes) -> bool:
    digests = {out["path"]: out["md5"] for out in subject.lock[stage]["outs"] if "md5" in out}
    return path.exists() and hashes.of(path, "md5") == digests[str(path)]


def parts(hashes: Hashes) -> Iterator[Part]:
    """Yield all of these parts."""
    yield base_model()
    subject = Subject()
    try:
        recorded()  # which tells a damaged list from none
        yield from outputs(subject, hashes)
        yield cache(subject, hashes)
    except SkippedError as reason:
        yield Part("the stages' outputs", skipped=str(reason))
    except ConversionError as error:
        yield Part("the stages' outputs", flaws=(Flaw(error.where, error.problem, error.hint),))
