"""The store's side of fetching: one folder for each content, placed whole or not at all, found again by request."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from ollamake.files import atomic_folder, read_json, require_space, sha256, write_json
from ollamake.resolve.architecture import check_architecture_fits
from ollamake.resolve.computable import check_computable, within_window
from ollamake.resolve.conversion import check_convertible
from ollamake.resolve.source import Record, Source, say
from ollamake.resolve.template import FILE, NamedTemplate, try_out
from ollamake.resolve.tidy import tidy
from ollamake.resolve.tokenizer_parity import check_against_transformers
from ollamake.resolve.weights import check_weights

KEY_DIGITS = 16


def fetch(source: Source, store: Path, template: NamedTemplate | None = None) -> Record:
    """Return what models/base.json says of `source`, bringing it into `store` unless it is there already.

    With a `template` it is the same model in a folder of its own, which holds that template in place of the model's.
    """
    store.mkdir(parents=True, exist_ok=True)
    request = store / "requests" / f"{_digest(source.identity)}.json"
    with FileLock(store / "fetch.lock"):
        if template is None:
            return _reuse(source, request, store) or _place(source, request, store)
        bare = {"needs_template": False}
        record = _reuse(source, request, store, **bare) or _place(source, request, store, **bare)
        return _with_template(record, template, store)


def _reuse(source: Source, request: Path, store: Path, *, needs_template: bool = True) -> Record | None:
    if not request.is_file():
        return None
    try:
        record: Record = read_json(request)["record"]
        whole = _holds(store / "base" / record["key"], record["files"])
    except (ValueError, TypeError, KeyError):
        whole = False  # not what _place wrote: as good as no index
    if not whole:
        say(f"{store / 'base'} no longer holds what was fetched; fetching again")
        return None
    config = read_json(store / "base" / record["key"] / "config.json")
    check_computable(config, source.name)
    if config != within_window(config):
        return None  # brought before its context was made to end at its window
    if needs_template and FILE not in record["files"]:
        return None  # brought for a template of models/templates
    return record if source.still_is(record) else None


def _place(source: Source, request: Path, store: Path, *, needs_template: bool = True) -> Record:
    incoming = store / "incoming"
    for left in (incoming, *store.glob("base/.*.partial-*")):  # by a killed run; the lock keeps living ones away
        shutil.rmtree(left, ignore_errors=True)
    incoming.mkdir()
    try:
        origin = source.bring(incoming, store / "downloads", needs_template=needs_template)
        tidy(incoming, needs_template=needs_template)
        check_weights(incoming)
        check_architecture_fits(incoming)
        check_against_transformers(incoming)
        check_convertible(incoming)
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
    write_json(request, {"record": record})
    return record


def _with_template(record: Record, template: NamedTemplate, store: Path) -> Record:
    digest = hashlib.sha256(template.text.encode()).hexdigest()
    files = dict(sorted({**record["files"], FILE: digest}.items()))
    key = _digest(sorted(files.items()))
    model, folder = store / "base" / record["key"], store / "base" / key
    if not _holds(folder, files):
        try_out(template.text, model, template.where, hint="correct the file")
        _dress(model, folder, template.text)
    return {**record, "chat_template": template.name, "key": key, "files": files}


def _dress(model: Path, folder: Path, template: str) -> None:
    """Make `folder` the model of the folder `model` with another chat template; they share the weights on disk."""
    with atomic_folder(folder) as partial:
        for file in model.iterdir():
            if file.name != FILE:
                _share(file, partial / file.name)
        (partial / FILE).write_text(template, encoding="utf-8", newline="")


def _share(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:  # a file system that knows no second name for a file
        require_space(target, file.stat().st_size, "a copy of the base model with another chat template")
        shutil.copyfile(file, target)


def _shelve(incoming: Path, folder: Path) -> None:
    # Always anew, even if a folder of that name is there: it may be the damaged one that sent us here.
    with atomic_folder(folder) as partial:
        for file in incoming.iterdir():
            file.rename(partial / file.name)


def _holds(folder: Path, files: dict[str, str]) -> bool:
    """Tell whether `folder` has all of `files`, as they were: weights too, which nothing hashes between two fetches."""
    return all((folder / name).is_file() and sha256(folder / name) == digest for name, digest in files.items())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:KEY_DIGITS]
