"""Disks that are too small, files that may not grow, folders that take nothing.

The limits are prefixes of a command (util-linux), the disks are mounts, which only root may make:

    with small_disk(folder, 1 << 20) as disk: ...; disk.resize(8 << 20)
    with read_only(folder): ...
    subprocess.run([*file_limit(1 << 20), "dvc", "repro"])
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.meanwhile import looking

PAUSE_SECONDS = 0.005


class UnavailableError(Exception):
    """This machine, or this user, cannot make the fault: the test is to be skipped with this reason."""


@dataclass(frozen=True)
class Disk:
    """A file system of its own in memory."""

    folder: Path

    @property
    def used_bytes(self) -> int:
        """What its files take."""
        return shutil.disk_usage(self.folder).used

    def resize(self, size_bytes: int) -> None:
        """Let it hold `size_bytes`, whole pages of them; no less than it holds already."""
        _mount("-o", f"remount,size={size_bytes}", self.folder)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """Mount a new, empty disk of `size_bytes` on `folder`. Raises UnavailableError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in `folder`, root neither. Raises UnavailableError where that is not allowed."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def overlay(lower: Path, scratch: Path) -> Iterator[Path]:
    """Yield a folder in which the files of `lower` can be changed without changing them there, as in a container."""
    parts = [scratch / name for name in ("upper", "work", "merged")]
    for part in parts:
        part.mkdir(parents=True)
    upper, work, merged = parts
    _mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", merged)
    try:
        yield merged
    finally:
        subprocess.run(["umount", "--lazy", merged], check=True)


def file_limit(size_bytes: int) -> list[str]:
    """Return the start of a command that may write no file larger than `size_bytes`."""
    return ["prlimit", f"--fsize={size_bytes}"]


def descriptor_limit(count: int) -> list[str]:
    """Return the start of a command that may have `count` files open at once, in each process."""
    return ["prlimit", f"--nofile={count}"]


@contextmanager
def most_used(disk: Disk) -> Iterator[list[int]]:
    """Yield a list that holds the most bytes that `disk` had in use meanwhile, looked at every few milliseconds."""
    most = [disk.used_bytes]

    def look() -> None:
        most[0] = max(most[0], disk.used_bytes)

    with looking(look, PAUSE_SECONDS):
        yield most


def _mount(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise UnavailableError("there is no `mount` here") from None
    if done.returncode:
        raise UnavailableError(f"only root may mount a disk: {done.stderr.strip()}")
