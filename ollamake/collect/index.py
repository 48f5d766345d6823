"""Pinned source distributions from the package index, through the user's own pip and its configuration."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ollamake.collect.recipe import Package
from ollamake.errors import DataError
from ollamake.files import atomic_write, sha256

# pip waits up to 15 s five times over for an index that does not answer; a person should know sooner.
PATIENCE = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "10", "PIP_DEFAULT_TIMEOUT": "10", "PIP_NO_INPUT": "1"}
# pip asks a source distribution for its metadata, which runs its setup.py, though not before its hash was found right.
# It has no option that leaves this out (https://github.com/pypa/pip/issues/1884), so that code sees no more than
# pip needs: where its settings and certificates are, and the way to the index; no token of the hub or of a cloud.
NEEDED = re.compile(
    r"PATH|HOME|LANG|TMPDIR|NETRC|LD_LIBRARY_PATH|DBUS_SESSION_BUS_ADDRESS|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE"
    r"|(LC|PIP|XDG)_\w+|(?i:\w+_proxy)"
)
DOWNLOAD = ["download", "--no-deps", "--no-binary", ":all:", "--require-hashes", "--quiet"]
OFFLINE = re.compile(r"Retrying|Could not fetch URL|Connection|not a trusted or secure host|from versions: none")


def source_archive(package: Package, downloads: Path) -> Path:
    """Return the package's source archive in `downloads`, fetched unless it is there. Raises DataError."""
    archive = downloads / f"{package.requirement.replace('==', '-')}-{package.sha256[:12]}.tar.gz"
    if archive.is_file() and sha256(archive) == package.sha256:
        return archive
    print(f"fetching {package.requirement} from the package index", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ollamake-") as folder:
        fetched = _download(package, Path(folder))
        with atomic_write(archive) as partial:
            partial.write_bytes(fetched.read_bytes())
    return archive


def _download(package: Package, folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    # The installed setuptools spares a build environment, which would hold whatever setuptools is the newest today.
    installed = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [sys.executable, "-m", "pip", *DOWNLOAD, *installed, "--dest", str(folder), "--requirement", str(wanted)]
    needed = {name: value for name, value in os.environ.items() if NEEDED.fullmatch(name)}
    pip = subprocess.run(command, env={**needed, **PATIENCE}, capture_output=True, text=True, check=False)
    if pip.returncode:
        raise failure(package, pip.stderr)
    archives = list(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise DataError("is no .tar.gz source archive", where=package.requirement, hint="name another package")
    return archives[0]


def failure(package: Package, complaint: str) -> DataError:
    """Return what pip's complaint means for the one who waits for the package."""
    if "DO NOT MATCH THE HASHES" in complaint:
        got = re.search(r"Got\s+([0-9a-f]{64})", complaint)
        problem = (
            f"the index serves a file with sha256 {got[1] if got else 'unknown'}, the recipe pins {package.sha256}"
        )
        hint = "find out why they differ before you change the recipe"
    elif OFFLINE.search(complaint):
        problem = "the package index cannot be reached, or does not have this package"
        hint = (
            "`python -m pip config list` shows which index pip asks; or name a .jsonl file of your own in data_source "
            "(params.yaml), which needs no network"
        )
    else:
        said = [line.strip() for line in complaint.splitlines() if line.strip() and not line.startswith("WARNING")]
        causes = [line for line in said if line.lower().startswith("error")] + said[-1:]
        problem = f"pip could not download it: {causes[0] if causes else 'it does not say why'}"
        hint = f"`python -m pip download --no-deps --no-binary :all: {package.requirement}` shows all that pip says"
    return DataError(problem, where=package.requirement, hint=hint)
