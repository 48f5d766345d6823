"""A model that Ollama has pulled: its GGUF on this machine and what it is served with, from its manifest on disk.

Where no models folder that we know has it, a server on this machine may say where the files lie.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError, ServerError
from ollamake.files import read_json
from ollamake.ollama.address import server_address, why_silent
from ollamake.ollama.blobs import BLOB, blob_digest, blobs_of

# Where Ollama keeps its models unless OLLAMA_MODELS says otherwise: started by a user, by systemd, on Arch Linux.
PLACES = ("~/.ollama/models", "/usr/share/ollama/.ollama/models", "/var/lib/ollama")
REGISTRY, NAMESPACE = "registry.ollama.ai", "library"
LAYER = "application/vnd.ollama.image."
# What no training here can start from, by the kinds of the layers.
UNUSABLE = {
    "projector": "it sees or hears, too, and only text can be trained",
    "adapter": "it is a model with a LoRA adapter beside it, which is not taken over",
    "tensor": "it is kept as safetensors for MLX, not as GGUF",
}


@dataclass(frozen=True)
class Pulled:
    """The GGUF, and what Ollama serves it with: texts, empty where there is none."""

    gguf: Path
    template: str
    system: str
    license: str

    @property
    def revision(self) -> str:
        """The digest of the GGUF, `sha256:…`."""
        return blob_digest(self.gguf)


def find_pulled(name: str) -> Pulled | None:
    """Return the model of this full name; None where neither a models folder nor the server has it.

    Raises BaseModelError for one that is no GGUF, or whose files cannot be read; without a hint where none helps but
    another model.
    """
    for folder in models_folders():
        if manifest := _manifest(folder, name):
            return _checked(_from_manifest(manifest, folder, name), name)
    pulled = _from_server(name)
    return _checked(pulled, name) if pulled else None


def models_folders() -> list[Path]:
    """Return the folders to look in: the one that OLLAMA_MODELS names, else those of PLACES."""
    named = os.environ.get("OLLAMA_MODELS")
    return [Path(place).expanduser() for place in ([named] if named else PLACES)]


def _manifest(folder: Path, name: str) -> Path | None:
    rest, _, tag = name.rpartition(":")
    parts = rest.split("/")
    wanted = "/".join([*(REGISTRY, NAMESPACE)[: 3 - len(parts)], *parts, tag]).lower()
    try:
        files = (path for path in (folder / "manifests").glob("*/*/*/*") if path.is_file())
        return next(
            (path for path in files if path.relative_to(folder / "manifests").as_posix().lower() == wanted), None
        )
    except PermissionError:  # the server's own folder: the server may tell more
        return None


def _from_manifest(path: Path, folder: Path, name: str) -> Pulled:
    try:
        layers = list(_layers(read_json(path), folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(
            f"the manifest of {name} cannot be read: {error}", where=str(path), hint=f"`ollama pull {name}`"
        ) from error
    _refuse_unusable([kind for kind, _ in layers], name)

    def text(kind: str) -> str:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for found, file in layers if found == kind)

    try:
        gguf = next(file for kind, file in layers if kind == "model")
        return Pulled(gguf, text("template"), text("system"), text("license"))
    except OSError as error:
        raise _unreadable(name, Path(error.filename), error) from error


def _layers(manifest: dict[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    for layer in manifest["layers"]:
        digest = str(layer["digest"]).replace(":", "-")
        if not BLOB.fullmatch(digest):  # it would name a file outside of the folder, maybe
            raise ValueError(f"{layer['digest']!r:.80} is no sha256")
        yield str(layer["mediaType"]).removeprefix(LAYER), folder / "blobs" / digest


def _refuse_unusable(kinds: list[str], name: str) -> None:
    wrong = next((UNUSABLE[kind] for kind in kinds if kind in UNUSABLE), "")
    if not wrong and kinds.count("model") != 1:
        wrong = f"it has {kinds.count('model')} GGUF files; one that runs elsewhere has none"
    if wrong:
        raise BaseModelError(f"{name} in Ollama cannot be the base: {wrong}")


def _from_server(name: str) -> Pulled | None:
    """Ask the server; None where there is none, or it has no such model."""
    try:
        address = server_address()
        if why_silent(address):
            return None
        from ollamake.ollama.connection import Connection  # httpx loads here

        with Connection(address) as server:
            shown = server.show(name)
    except ServerError:
        return None
    text = {key: shown.get(key, "") for key in ("modelfile", "template", "system", "license")}
    blobs, adapted = blobs_of(text["modelfile"]), "\nADAPTER " in text["modelfile"]
    _refuse_unusable(["model"] * min(len(blobs), 1) + ["projector"] * (len(blobs) > 1) + ["adapter"] * adapted, name)
    return Pulled(blobs[0], text["template"], text["system"], text["license"])


def _checked(pulled: Pulled, name: str) -> Pulled:
    try:
        with pulled.gguf.open("rb"):
            return pulled
    except OSError as error:
        raise _unreadable(name, pulled.gguf, error) from error


def _unreadable(name: str, path: Path, error: OSError) -> BaseModelError:
    if isinstance(error, PermissionError):
        hint = f"`sudo install -m 644 {path} models/base.gguf`, and set base_model to models/base.gguf"
    else:
        hint = f"`ollama pull {name}` on this machine; where the server runs on another, copy the file here"
    return BaseModelError(f"the GGUF of {name} cannot be read: {error.strerror}", where=str(path), hint=hint)
