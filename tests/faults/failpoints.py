"""Every call with which a stage changes the disk, made to fail in turn: by an error, a kill or a loss of power.

python -m tests.faults.failpoints --stage prepare --action exit --every 1     # in a tiny project

The hook counts, in the process of the stage alone, the calls that open for writing, write, fsync, rename, replace,
unlink, make or remove folders below the current folder. The k-th one raises OSError ("error"), ends the process as a
kill does ("exit"), or ends it and takes away what was not on the disk yet ("power", see power.py); a write is done by
half before. What libraries write in C or Rust is not seen, but what Python does around it is. Then it runs again.
"""
# ruff: noqa: PTH109, PTH115, PTH118

import argparse
import atexit
import builtins
import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
ACTIONS = ("error", "exit", "power")
HOOK = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.faults import failpoints
sys.path.remove({str(ROOT)!r})
failpoints.install()
"""
KILLED = 137
NEVER = 1_000_000  # more calls than any stage makes


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


@dataclass(frozen=True)
class Strike:
    """What became of a failpoint: the call that failed, how the stage ended, and what was wrong then and in the end."""

    stage: str
    action: str
    at: int
    call: str
    code: int
    torn: list[str]
    differs: list[str]
    said: str

    def __str__(self) -> str:
        wrong = [f"{name} is torn" for name in self.torn] + [f"{name} differs" for name in self.differs]
        verdict = ", ".join(wrong) or "the same bytes"
        return f"{self.stage}, {self.action} at {self.at} ({self.call}): left with {self.code}, then {verdict}"


@dataclass(frozen=True)
class Range:
    """A stage of a built project, to be struck in the way DVC runs it: without outputs, from the top of the project."""

    victim: Any  # tests.faults.kills.Victim
    stage: str

    def undisturbed(self) -> tuple[dict[str, str], int]:
        """Run the stage as it is; return the digests of its outputs, and how many calls it made."""
        self.begin()
        code, calls, said = self._run(0, "error")
        assert code == 0, said
        return self._digests(), len(calls)

    def strikes(self, action: str, reference: Mapping[str, str], ats: Iterable[int]) -> Iterator[Strike]:
        """Strike at each of `ats` in turn, until the stage comes to its end untouched, and run it again each time."""
        for at in ats:
            self.begin()
            code, calls, said = self._run(at, action)
            if len(calls) < at:
                return
            found = {} if action == "power" else self._digests()  # of what a loss of power tears, nothing is promised
            torn = self._torn(found, reference)
            if code:
                self.clear()
                again, _, told = self._run(0, "error")
                assert again == 0, f"after {action} at {at} ({calls[-1]}): {told}"
            end = self._digests()
            differs = sorted({name for name, _ in end.items() ^ reference.items()})
            yield Strike(self.stage, action, at, calls[at - 1], code, torn, differs, said)

    def torn_after(self, reference: Mapping[str, str], turn: int) -> list[str]:
        """Let the power go right after the stage has come to its end; return what is there then and not as written."""
        self.begin()
        code, _, said = self._run(NEVER + turn, "power")
        assert code == 0, said
        return [name for name, digest in self._digests().items() if digest != reference.get(name)]

    @property
    def store(self) -> Path:
        """The base models, which outlive the stage that fetches them."""
        return self.victim.folder / ".ollamake/base"

    def begin(self) -> None:
        """Make it as before the stage ran for the first time."""
        self.clear()
        shutil.rmtree(self.victim.folder / ".checkpoints", ignore_errors=True)
        if self.stage == "fetch":
            shutil.rmtree(self.store, ignore_errors=True)

    def clear(self) -> None:
        """Remove the outputs, as DVC does before it runs a stage."""
        for out in self.victim.outputs(self.stage):
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)

    def _torn(self, found: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
        """Return what is there and not as it should be; the curves of a training grow while it goes on."""
        wrong = [name for name, digest in found.items() if digest != reference.get(name)]
        return [name for name in wrong if not name.startswith("plots/train/")]

    def _digests(self) -> dict[str, str]:
        from tests.faults.kills import digest, is_timed

        outs = [*self.victim.outputs(self.stage), *([self.store] if self.stage == "fetch" else [])]
        files = [file for out in outs for file in ([out] if out.is_file() else out.rglob("*")) if file.is_file()]
        names = {str(file.relative_to(self.victim.folder)): file for file in files}
        return {name: digest(file) for name, file in names.items() if not is_timed(name) and ".partial-" not in name}

    def _run(self, at: int, action: str) -> tuple[int, list[str], str]:
        """Run the stage with the hook; return its exit code, the calls that it made until then, and what it said."""
        from tests.pipeline.conftest import environment

        with TemporaryDirectory(dir=self.victim.folder.parent) as scratch:
            Path(scratch, "sitecustomize.py").write_text(HOOK)
            log = Path(scratch, "log")
            hooked = {
                **environment(), "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1", "FAILPOINT_STAGE": self.stage,
                "FAILPOINT_AT": str(at), "FAILPOINT_ACTION": action, "FAILPOINT_LOG": str(log),
                "OLLAMA_HOST": self.victim.server,
            }  # fmt: skip
            ran = subprocess.run(
                [sys.executable, "-m", f"stages.{self.stage}"], cwd=self.victim.folder, env=hooked,
                capture_output=True, text=True,
            )  # fmt: skip
            return ran.returncode, log.read_text().splitlines(), ran.stderr


def main() -> int:
    from tests.faults.kills import STAGES, tiny_victim

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, required=True, help="may be given several times")
    parser.add_argument("--action", choices=ACTIONS, default="exit")
    parser.add_argument("--every", type=int, default=1, help="strike at each k-th call (default: at all)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="ollamake-failpoints-") as scratch, tiny_victim(Path(scratch)) as victim:
        struck = []
        for stage in options.stage:
            shots = Range(victim, stage)
            ats = range(1, 1_000_000, options.every)
            for strike in shots.strikes(options.action, shots.undisturbed()[0], ats):
                struck.append(strike)
                print(strike, flush=True)
    wrong = sum(bool(strike.torn or strike.differs) for strike in struck)
    print(f"{len(struck) - wrong} of {len(struck)} the same bytes")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
