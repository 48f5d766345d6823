"""What the server keeps on disk, laid out as Ollama's models folder is: blobs by digest, and a manifest for each tag.

The sha256 of a manifest's bytes is the digest of the tag.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
NAME = re.compile(r"(?:[\w][\w.:-]*/)?(?:[\w][\w-]{0,79}/)?[\w][\w.-]{0,79}(?::[\w][\w.-]{0,79})?", re.ASCII)
REGISTRY, NAMESPACE = "registry.ollama.ai", "library"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."

Layers = dict[str, str]  # kind (model, template, system, params, license) to digest


def full_name(text: str) -> str:
    """Return the name with its tag. Raises ValueError when Ollama would not take it."""
    if not NAME.fullmatch(text):
        raise ValueError(text)
    return text if ":" in text.rpartition("/")[2] else f"{text}:latest"


class Store:
    """The models folder of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs, self.manifests = folder / "blobs", folder / "manifests"
        for made in (self.blobs, self.manifests):
            made.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """Return the path of a blob. Raises ValueError for a malformed digest."""
        if not DIGEST.fullmatch(digest):
            raise ValueError("invalid digest format")
        return self.blobs / digest.replace(":", "-").lower()

    def add_blob(self, content: bytes) -> str:
        """Keep the bytes; return their digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blob(digest).write_bytes(content)
        return digest

    def read(self, name: str) -> Layers | None:
        """Return the layers of a tag, None when there is none."""
        path = self._path(name)
        return _layers(path) if path.is_file() else None

    def digest(self, name: str) -> str:
        """Return the digest of a tag."""
        return hashlib.sha256(self._path(name).read_bytes()).hexdigest()

    def write(self, name: str, layers: Layers) -> None:
        """Make or replace a tag, then drop blobs that only its predecessor used."""
        path, before = self._path(name), set[str]()
        if path.is_file():
            before = _digests(path)
        config = {"model_format": "gguf", "rootfs": {"type": "layers", "diff_ids": list(layers.values())}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self._described(CONFIG_TYPE, self.add_blob(json.dumps(config).encode())),
            "layers": [self._described(LAYER_TYPE + kind, digest) for kind, digest in layers.items()],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))
        self._drop(before)

    def copy(self, source: str, destination: str) -> bool:
        """Give a tag a second name; False when there is no such tag. What the second name had stays on disk."""
        origin, path = self._path(source), self._path(destination)
        if origin.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(origin.read_bytes())
        return origin.is_file()

    def delete(self, name: str) -> bool:
        """Remove a tag and the blobs that only it used; False when there is no such tag."""
        path = self._path(name)
        if not path.is_file():
            return False
        digests = _digests(path)
        path.unlink()
        self._drop(digests)
        return True

    def names(self) -> list[str]:
        """Return all tags as Ollama lists them, newest first."""
        paths = sorted(self._tags(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [_listed(path.relative_to(self.manifests)) for path in paths]

    def forget_unused(self) -> None:
        """Drop every blob that no tag uses, as a server does when it starts."""
        self._drop({path.name.replace("-", ":", 1) for path in self.blobs.iterdir()})

    def layer(self, name: str, kind: str) -> str:
        """Return the text of a layer, empty when the tag has none."""
        digest = (self.read(name) or {}).get(kind)
        return self.blob(digest).read_text(encoding="utf-8") if digest else ""

    def _path(self, name: str) -> Path:
        """Return the manifest's place: of a tag spelled otherwise in upper and lower case, if there is one."""
        rest, _, tag = full_name(name).rpartition(":")
        parts = rest.split("/")
        path = self.manifests.joinpath(*(REGISTRY, NAMESPACE)[: 3 - len(parts)], *parts, tag)
        return next((known for known in self._tags() if str(known).lower() == str(path).lower()), path)

    def _tags(self) -> list[Path]:
        return [path for path in self.manifests.glob("*/*/*/*") if path.is_file()]

    def _described(self, media_type: str, digest: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest, "size": self.blob(digest).stat().st_size}

    def _drop(self, digests: set[str]) -> None:
        for digest in digests - {used for path in self._tags() for used in _digests(path)}:
            self.blob(digest).unlink(missing_ok=True)


def _layers(path: Path) -> Layers:
    layers = json.loads(path.read_bytes())["layers"]
    return {layer["mediaType"].removeprefix(LAYER_TYPE): layer["digest"] for layer in layers}


def _digests(path: Path) -> set[str]:
    return {*_layers(path).values(), json.loads(path.read_bytes())["config"]["digest"]}


def _listed(path: Path) -> str:
    host, namespace, model, tag = path.parts
    prefix = f"{host}/{namespace}/" if host != REGISTRY else f"{namespace}/" if namespace != NAMESPACE else ""
    return f"{prefix}{model}:{tag}"
