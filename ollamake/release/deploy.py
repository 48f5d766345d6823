"""Bring a recorded release into the server of this machine, after `git pull && dvc pull` or when a server was lost."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ollamake.base import store
from ollamake.files import sha256
from ollamake.ollama import deploy as export
from ollamake.ollama.settings import GGUF
from ollamake.ollama.version import require_version
from ollamake.release.channels import PROD, TagServer, point, read_channels
from ollamake.release.errors import ReleaseError
from ollamake.release.prove import prove
from ollamake.release.record import Record, read_record, recorded_model


def deploy(server: TagServer, version: str | None) -> tuple[Record, dict[str, str]]:
    """Serve a release, by default the one that prod names, and let the channels that name it do so in this server, too.

    Returns the release and the checks that it passed. The files stay as they are: they say what should be served, and
    this makes the server follow. Raises ReleaseError or ServerError.
    """
    channels = read_channels()
    version = version or channels.get(PROD)
    if version is None:
        raise ReleaseError("no release is in prod yet", hint="`python -m ollamake release deploy VERSION` takes any")
    record = read_record(version)
    if server.digest(record.tag) is None:
        with found(record) as gguf:
            checks = export.deploy(server, require_version(server), recorded_model(record, gguf)).checks
    else:
        checks = prove(server, record)
    with ExitStack() as undo:
        point(server, {channel: record for channel, named in channels.items() if named == version}, undo)
        undo.pop_all()
    return record, checks


@contextmanager
def found(record: Record) -> Iterator[Path]:
    """Yield the GGUF of a release: of this workspace, or else of DVC's cache or remote, for a while.

    Raises ReleaseError when it is nowhere, or is another file than the recorded one.
    """
    here = GGUF / record.serving.gguf
    if _is_recorded(here, record):
        yield here
        return
    folder = store() / "releases" / record.version
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _get(record, folder)
        if not _is_recorded(folder / record.serving.gguf, record):
            raise ReleaseError(
                f"{here} of commit {record.git_commit[:10]} is not the file that was released as {record.version}: its "
                f"sha256 is not {record.serving.sha256[:16]}…",
                hint="the cache or the remote of DVC is damaged; take it from another machine with `dvc push` there",
            )
        yield folder / record.serving.gguf
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_recorded(gguf: Path, record: Record) -> bool:
    right_size = gguf.is_file() and gguf.stat().st_size == record.serving.size_bytes
    return right_size and sha256(gguf) == record.serving.sha256


def _get(record: Record, folder: Path) -> None:
    """Let DVC take models/gguf out of its cache or remote, as it was at the commit of the release."""
    print(
        f"{GGUF} does not hold release {record.version}: getting it from DVC, of commit {record.git_commit[:10]}",
        file=sys.stderr,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "get", ".", str(GGUF), "--rev", record.git_commit, "--out", str(folder)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        said = "\n  ".join(line for line in ran.stderr.splitlines() if line.startswith("ERROR"))
        raise ReleaseError(
            f"the GGUF of release {record.version} is neither in {GGUF} nor in DVC's cache or remote:\n  {said}",
            hint=f"`git checkout {record.git_tag} && dvc push` on the machine that built it, then this command again",
        )
