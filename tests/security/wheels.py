"""Packages of a few bytes, made on the spot, and an index of them that pip reads from a folder."""

import hashlib
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str, *, needs: str = "", content: str = "") -> Path:
    """Write a wheel with one module; `needs` is a package that its metadata asks for."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}.py", content)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def package(path: Path) -> dict[str, object]:
    """Describe a wheel as a resolution does."""
    name, version = path.name.split("-")[:2]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": name.replace("_", "-"), "version": version, "wheels": [{"hashes": {"sha256": digest}}]}


def publish(index: Path) -> None:
    """Write a page for each package with its wheels and, as real indexes do, their sha256 as they are now.

    pip takes a file whose listed sha256 is wanted before one of a higher version that it knows no sha256 of.
    """
    for file in index.glob("*.whl"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        page = index / str(package(file)["name"]) / "index.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text(f'<a href="../{file.name}#sha256={digest}">{file.name}</a>\n')
