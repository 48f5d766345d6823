"""The call with which a stage changes the disk, made to fail: by an error, a kill or a loss of power.

The hook is put into the process of the stage (by strikes.py), so this file imports little. It counts the calls there
that open for writing, write, fsync, rename, replace, unlink, make or remove folders below the current folder. The k-th
one raises OSError ("error"), ends the process as a kill does ("exit"), or ends it and takes away what was not on the
disk yet ("power", see power.py); a write is done by half before. What libraries write in C or Rust is not seen, but
what Python does around it is.
"""
# ruff: noqa: PTH109, PTH115, PTH118

import atexit
import builtins
import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 137


class Failpoint:
    """The counter in the process of the stage, with what to do when it reaches `at` (0: nothing)."""

    def __init__(self, at: int, action: str, log: str) -> None:
        self.at, self.action, self.count = at, action, 0
        self.folder, self.process = str(Path.cwd()), os.getpid()
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.journal = None
        if action == "power":
            from tests.faults.power import Journal

            self.journal = Journal(Path(self.folder), Path(log).parent, at)

    def strikes(self, call: str, path: str) -> bool:
        """Count a call, note it in the log, and tell whether it is the one to fail."""
        if os.getpid() != self.process or not path.startswith(f"{self.folder}/"):
            return False
        self.count += 1
        os.write(self.log, f"{call} {path.removeprefix(self.folder)}\n".encode())
        return self.count == self.at

    def fail(self, path: str) -> None:
        """Do to the process what is to be done."""
        if self.action == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        self.lose()
        os._exit(KILLED)

    def lose(self) -> None:
        """Take away what is not on the disk, where that is what the failpoint does."""
        journal, self.journal = self.journal, None
        if journal is not None:
            journal.lose()


def install() -> None:
    """Put the hook into this process if it is the stage that the environment names."""
    if sys.orig_argv[1:3] != ["-m", f"stages.{os.environ['FAILPOINT_STAGE']}"]:
        return
    given = os.environ
    point = Failpoint(int(given["FAILPOINT_AT"]), given["FAILPOINT_ACTION"], given["FAILPOINT_LOG"])
    for name in ("fsync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir"):
        setattr(os, name, _counted(point, name, getattr(os, name)))
    builtins.open = io.open = _opening(point, io.open)
    atexit.register(point.lose)  # a stage that comes to its end loses power right after it


def _counted(point: Failpoint, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(path: Any, *others: Any, **options: Any) -> Any:
        where = _path(path, options.get("dir_fd"))
        if point.strikes(name, where):
            point.fail(where)
        if point.journal:
            with point.journal.noting(
                name, where, *(_path(other) for other in others if isinstance(other, str | Path))
            ):
                return call(path, *others, **options)
        return call(path, *others, **options)

    return counted


def _path(path: Any, folder: int | None = None) -> str:
    """Return the absolute path of a name, a name in an open folder, or an open file."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    inside = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()
    return os.path.normpath(os.path.join(inside, os.fsdecode(path)))


def _opening(point: Failpoint, real: Callable[..., Any]) -> Callable[..., Any]:
    class Raw(io.FileIO):
        """A file whose writes are counted; the one that fails is done by half."""

        def write(self, content: Any) -> int:
            where = _path(self.fileno())
            if point.strikes("write", where):
                content = bytes(content)
                super().write(content[: len(content) // 2])
                point.fail(where)
            return super().write(content) or 0

    def open_counted(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if isinstance(file, int) or opener or not set(mode) & set("wax+"):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        where = _path(file)
        if point.strikes("open", where):
            point.fail(where)
        if point.journal is not None:
            point.journal.created(where)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)

    return open_counted
