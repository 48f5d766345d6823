"""POST /api/create: the checks in Ollama's order, and the lines of its stream."""

import json
import struct
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ollamake.errors import ConversionError
from ollamake.ollama.gguf_header import read_header
from tests.standin import render
from tests.standin.problem import Problem
from tests.standin.semantics import Semantics
from tests.standin.store import DIGEST, Layers, Store, full_name

Status = dict[str, Any]
QUANTIZATIONS = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
FILE_TYPES_TO_QUANTIZE = (1, 32)  # F16 and BF16; 0, which is F32, is read as unknown
REWRITTEN = bytes(32)  # what a file that llama-quantize wrote has in this place is other bytes than what was uploaded


def create(store: Store, request: dict[str, Any], semantics: Semantics) -> Iterator[Status]:
    """Yield the lines. What is wrong with the request itself is raised before the first one."""
    files, adapters = request.get("files") or {}, request.get("adapters") or {}
    _check_files({**files, **adapters})
    name = _name(request.get("model", ""))
    if adapters and not semantics.takes_adapters:
        raise Problem(400, "adapters are not supported")  # the text of 0.34.1 is not known
    if request.get("from"):
        layers = yield from _from_tag(store, request["from"])
    elif files:
        layers = yield from _from_files(store, files, request.get("quantize") or "", semantics)
    else:
        raise Problem(400, "unknown type" if "files" in request else "neither 'from' or 'files' was specified")
    if adapters:
        yield from _refuse_adapters(store, layers, adapters)
    yield from _add_layers(store, layers, request)
    yield {"status": "writing manifest"}
    store.write(name, layers)
    yield {"status": "success"}


def _check_files(files: Mapping[str, str]) -> None:
    if any(PurePosixPath(key).is_absolute() or ".." in key.split("/") for key in files):
        raise Problem(400, "file path must be relative")
    if any(not digest for digest in files.values()):
        raise Problem(400, "invalid digest format")


def _from_tag(store: Store, source: str) -> Generator[Status, None, Layers]:
    layers = store.read(_name(source))
    if layers is None:
        yield {"status": "pulling manifest"}
        raise Problem(500, "pull model manifest: file does not exist")
    yield {"status": f"using existing layer {layers['model']}"}
    return layers


def _from_files(
    store: Store, files: Mapping[str, str], quantize: str, semantics: Semantics
) -> Generator[Status, None, Layers]:
    file_name, digest = next(iter(files.items()))
    if file_name.endswith(".safetensors"):
        yield {"status": "converting model"}
        raise Problem(500, _safetensors_problem(store, files))
    if not file_name.endswith(".gguf"):
        raise Problem(400, "unknown type")
    yield {"status": "parsing GGUF"}
    if not DIGEST.fullmatch(digest):
        raise Problem(500, "invalid digest format")
    blob = store.blob(digest)
    _require_gguf(blob)
    if quantize:
        _refuse_to_quantize(blob, quantize.upper())
    if semantics.has_llama_server:
        size = blob.stat().st_size
        yield {"status": "validating GGUF model", "digest": "0" * 19, "total": size, "completed": size}
        yield {"status": "verifying conversion"}
        digest = store.add_blob(blob.read_bytes() + REWRITTEN)
        yield {"status": f"creating new layer {digest}"}
    else:
        yield {"status": f"using existing layer {digest}"}
    return {"model": digest}


def _safetensors_problem(store: Store, files: Mapping[str, str]) -> str:
    """Return why the stand-in, which converts nothing, does not take these; in Ollama's words where it has any."""
    if "config.json" not in files:
        return "open config.json: no such file or directory"
    architecture = json.loads(store.blob(files["config.json"]).read_bytes()).get("architectures", [""])[0]
    return f'unsupported architecture "{architecture}"'


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


def _refuse_to_quantize(blob: Path, kind: str) -> None:
    if kind not in QUANTIZATIONS:
        supported = ", ".join(QUANTIZATIONS)
        raise Problem(500, f"unsupported quantization type {kind} - supported types are {supported}")
    if read_header(blob).get("general.file_type") not in FILE_TYPES_TO_QUANTIZE:
        raise Problem(500, "quantization is only supported for F16, BF16 and F32 models")
    raise Problem(500, "the stand-in quantizes nothing")


def _refuse_adapters(store: Store, layers: Layers, adapters: Mapping[str, str]) -> Iterator[Status]:
    yield {"status": "converting adapter"}
    if read_header(store.blob(layers["model"]))["general.architecture"] not in ("llama", "gemma2"):
        raise Problem(400, "unsupported architecture")
    if "adapter_config.json" not in adapters:
        raise Problem(400, "open adapter_config.json: no such file or directory")
    raise Problem(400, "the stand-in converts no adapters")


def _add_layers(store: Store, layers: Layers, request: dict[str, Any]) -> Iterator[Status]:
    if request.get("template"):
        try:
            render.check(request["template"])
        except ValueError as error:
            raise Problem(400, str(error)) from error
    licenses = request.get("license") or ""
    kept = json.loads(store.blob(layers["params"]).read_bytes()) if "params" in layers else {}
    texts = {
        "template": request.get("template") or "",
        "system": request.get("system") or "",
        "license": licenses if isinstance(licenses, str) else "\n".join(licenses),
        "params": json.dumps({**kept, **request["parameters"]}, sort_keys=True) if request.get("parameters") else "",
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
