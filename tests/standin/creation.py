"""POST /api/create: the checks in Ollama's order, and the lines of its stream."""

import json
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from ollamake.errors import ConversionError
from ollamake.ollama.gguf_header import read_header
from tests.standin import render
from tests.standin.problem import Problem
from tests.standin.store import DIGEST, Store, full_name

Status = dict[str, Any]
Layers = dict[str, str]


def create(store: Store, request: dict[str, Any], *, validates: bool) -> Iterator[Status]:
    """Yield the lines. What is wrong with the request itself is raised before the first one.

    `validates` is how servers from 0.30 on do it, which have llama.cpp copy the file.
    """
    files = request.get("files") or {}
    if any(key.startswith("/") or ".." in key.split("/") for key in files):
        raise Problem(400, "file path must be relative")
    if any(not digest for digest in files.values()):
        raise Problem(400, "invalid digest format")
    name = _name(request.get("model", ""))
    if request.get("from"):
        layers = yield from _from_tag(store, request["from"])
    elif files:
        layers = yield from _from_gguf(store, *next(iter(files.items())), validates=validates)
    else:
        raise Problem(400, "unknown type" if "files" in request else "neither 'from' or 'files' was specified")
    yield from _add_layers(store, layers, request)
    yield {"status": "writing manifest"}
    store.write(name, layers)
    yield {"status": "success"}


def _from_tag(store: Store, source: str) -> Generator[Status, None, Layers]:
    manifest = store.read(_name(source))
    if manifest is None:
        yield {"status": "pulling manifest"}
        raise Problem(500, "pull model manifest: file does not exist")
    layers: Layers = dict(manifest["layers"])
    yield {"status": f"using existing layer {layers['model']}"}
    return layers


def _from_gguf(store: Store, file_name: str, digest: str, *, validates: bool) -> Generator[Status, None, Layers]:
    if not file_name.endswith(".gguf"):
        raise Problem(400, "unknown type")
    yield {"status": "parsing GGUF"}
    if not DIGEST.fullmatch(digest):
        raise Problem(500, "invalid digest format")
    blob = store.blob(digest)
    _require_gguf(blob)
    if validates:
        size = blob.stat().st_size
        yield {"status": "validating GGUF model", "digest": "0" * 19, "total": size, "completed": size}
        yield {"status": "verifying conversion"}
    yield {"status": f"creating new layer {digest}"}
    return {"model": digest}


def _require_gguf(blob: Path) -> None:
    if not blob.is_file():
        raise Problem(500, f"open {blob}: no such file or directory")
    with blob.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise Problem(400, "supplied file was not in GGUF format")
    try:
        read_header(blob)
    except (ConversionError, struct.error) as error:
        raise Problem(500, "unexpected EOF") from error


def _add_layers(store: Store, layers: Layers, request: dict[str, Any]) -> Iterator[Status]:
    if request.get("template"):
        try:
            render.check(request["template"])
        except ValueError as error:
            raise Problem(400, str(error)) from error
    licenses = request.get("license") or ""
    texts = {
        "template": request.get("template") or "",
        "system": request.get("system") or "",
        "license": licenses if isinstance(licenses, str) else "\n".join(licenses),
        "params": json.dumps(request["parameters"], sort_keys=True) if request.get("parameters") else "",
    }
    for kind, text in texts.items():
        if text:
            layers[kind] = store.add_blob(text.encode())
            yield {"status": f"creating new layer {layers[kind]}"}


def _name(text: str) -> str:
    try:
        return full_name(text)
    except ValueError as error:
        raise Problem(400, "invalid model name") from error
