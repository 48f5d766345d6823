"""What the server keeps on disk: blobs by digest, and one manifest a tag, whose sha256 is the digest of the tag."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
NAME = re.compile(r"(?:[\w.:-]+/)?(?:[\w][\w-]{0,79}/)?[\w][\w.-]{0,79}(?::[\w][\w.-]{0,79})?", re.ASCII)
KINDS = ("model", "template", "system", "params", "license")


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

    def _path(self, name: str) -> Path:
        # Names are matched without regard to case, so the file is named in lower case; the manifest keeps the name.
        return self.manifests / full_name(name).lower().replace("/", "%").replace(":", "=")

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the manifest of a tag, None when there is none."""
        path = self._path(name)
        return json.loads(path.read_text()) if path.is_file() else None

    def digest(self, name: str) -> str:
        """Return the digest of a tag: of its manifest without the name, so that copies share it."""
        manifest = self.read(name)
        assert manifest is not None
        return hashlib.sha256(json.dumps(manifest["layers"]).encode()).hexdigest()

    def write(self, name: str, layers: dict[str, str]) -> None:
        """Make or replace a tag, then drop blobs that only its predecessor used."""
        before = self.read(name)
        self._path(name).write_text(json.dumps({"name": full_name(name), "layers": layers}))
        self._drop(set((before or {"layers": {}})["layers"].values()))

    def copy(self, source: str, destination: str) -> bool:
        """Give a tag a second name; False when there is no such tag. What the second name had stays on disk."""
        manifest = self.read(source)
        if manifest:
            self._path(destination).write_text(json.dumps({**manifest, "name": full_name(destination)}))
        return bool(manifest)

    def delete(self, name: str) -> bool:
        """Remove a tag and the blobs that only it used; False when there is no such tag."""
        manifest = self.read(name)
        if manifest:
            self._path(name).unlink()
            self._drop(set(manifest["layers"].values()))
        return bool(manifest)

    def names(self) -> list[str]:
        """Return all tags, newest first."""
        paths = sorted(self.manifests.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        return [json.loads(path.read_text())["name"] for path in paths]

    def forget_unused(self) -> None:
        """Drop every blob that no tag uses, as a server does when it starts."""
        self._drop({path.name.replace("-", ":", 1) for path in self.blobs.iterdir()})

    def layer(self, name: str, kind: str) -> str:
        """Return the text of a layer, empty when the tag has none."""
        digest = (self.read(name) or {"layers": {}})["layers"].get(kind)
        return self.blob(digest).read_text(encoding="utf-8") if digest else ""

    def _drop(self, digests: set[str]) -> None:
        used = {
            digest for path in self.manifests.iterdir() for digest in json.loads(path.read_text())["layers"].values()
        }
        for digest in digests - used:
            self.blob(digest).unlink(missing_ok=True)
