"""The store's side of fetching: one folder for each content, placed whole or not at all, found again by request."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from ollamake.base import changed_files
from ollamake.files import atomic_folder, read_json, sha256, write_json
from ollamake.resolve.source import Record, Source, say
from ollamake.resolve.tidy import tidy
from ollamake.resolve.tokenizer_parity import check_against_transformers
from ollamake.resolve.weights import check_weights

KEY_DIGITS = 16


def fetch(source: Source, store: Path) -> Record:
    """Return what models/base.json says of `source`, bringing it into `store` unless it is there already."""
    store.mkdir(parents=True, exist_ok=True)
    request = store / "requests" / f"{_digest(source.identity)}.json"
    with FileLock(store / "fetch.lock"):
        return _reuse(source, request, store) or _place(source, request, store)


def _reuse(source: Source, request: Path, store: Path) -> Record | None:
    if not request.is_file():
        return None
    try:
        content = read_json(request)
        record: Record = content["record"]
        folder = store / "base" / record["key"]
        whole = _sizes(folder, record["files"]) == content["sizes"] and not changed_files(folder, record["files"])
    except (ValueError, TypeError, KeyError):
        whole = False  # not what _place wrote: as good as no index
    if not whole:
        say(f"{store / 'base'} no longer holds what was fetched; fetching again")
        return None
    return record if source.still_is(record) else None


def _place(source: Source, request: Path, store: Path) -> Record:
    incoming = store / "incoming"
    for left in (incoming, *store.glob("base/.*.partial-*")):  # by a killed run; the lock keeps living ones away
        shutil.rmtree(left, ignore_errors=True)
    incoming.mkdir()
    try:
        origin = source.bring(incoming, store / "downloads")
        tidy(incoming)
        check_weights(incoming)
        check_against_transformers(incoming)
        files = {file.name: sha256(file) for file in sorted(incoming.iterdir())}
        key = _digest(sorted(files.items()))
        _shelve(incoming, store / "base" / key)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    record = {
        "name": source.name,
        "source": origin.source,
        "revision": origin.revision,
        "license": origin.license,
        "architecture": read_json(store / "base" / key / "config.json")["architectures"][0],
        "key": key,
        "files": files,
    }
    write_json(request, {"record": record, "sizes": _sizes(store / "base" / key, files)})
    return record


def _shelve(incoming: Path, folder: Path) -> None:
    # Always anew, even if a folder of that name is there: it may be the damaged one that sent us here.
    with atomic_folder(folder) as partial:
        for file in incoming.iterdir():
            file.rename(partial / file.name)


def _sizes(folder: Path, names: Record) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:KEY_DIGITS]
