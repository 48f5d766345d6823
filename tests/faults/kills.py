"""Kills of a `dvc repro` and all its processes while a stage runs: the next `dvc repro` must give the same bytes.

python -m tests.faults.kills --stage convert --kills 20        # each stage of a tiny project, or the ones named

Before each kill the project is as if the stage had never run: without its outputs, its entry in dvc.lock, its objects
in the cache and the memory of earlier runs. The instants are drawn uniformly from the time that the stage takes and a
second more, in which DVC puts its outputs into the cache. `export` is killed with a stand-in for the Ollama server.
"""

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import conftest
from tests.faults.again import OBJECTS, digests, forget
from tests.pipeline.conftest import Project, environment, start
from tests.standin import running
from tests.tiny import build_tiny_model

STAGES = (
    *("fetch", "collect", "prepare", "distill", "tokenize", "train", "baseline", "evaluate", "gate", "judge"),
    *("convert", "report", "export"),
)
WRITTEN = ("data", "models", "metrics", "plots")
AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Kill:
    """What became of one: seconds into the stage, whether the build had ended by then, and what is not as it was."""

    stage: str
    instant: float
    ended: bool
    ran_again: bool
    differs: list[str]

    def __str__(self) -> str:
        verdict = f"differs: {', '.join(self.differs)}" if self.differs else "the same bytes"
        after = "its end" if self.ended else f"{self.instant:.2f} s"
        return f"{self.stage} killed after {after}, {'ran again' if self.ran_again else 'was done'}: {verdict}"


@dataclass(frozen=True)
class Victim:
    """A built project whose stages are made to run again, and killed."""

    project: Project
    server: str = "127.0.0.1:1"  # of the Ollama that export finds; nothing listens there

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.project.folder

    def digests(self) -> dict[str, str]:
        """Return the sha256 of everything that the stages wrote, without what they measured of the machine."""
        return digests(self.folder, *WRITTEN)

    def damaged(self) -> list[str]:
        """Return the objects of DVC's cache whose content is not what their name says: DVC would ship them."""
        files = [file for file in (self.folder / OBJECTS).rglob("*") if file.is_file()]
        assert len(files) > 20
        named = {
            str(file.relative_to(self.folder)): file.parent.name + file.name.removesuffix(".dir") for file in files
        }
        return [name for name, md5 in named.items() if _md5(self.folder / name) != md5]

    @contextmanager
    def building(self, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Start `dvc repro`; yield the process and the file with what it has said so far."""
        with TemporaryDirectory() as scratch:
            said = Path(scratch) / "said"
            with said.open("wb") as stream:
                process = subprocess.Popen(
                    ["dvc", "repro", *arguments], cwd=self.folder, start_new_session=True, stdout=stream, stderr=stream,
                    env={**environment(), "OLLAMA_HOST": self.server, **env},
                )  # fmt: skip
            with process:
                yield process, said

    def build(self) -> list[str]:
        """Run `dvc repro` to its end and return the stages that ran. Raises RuntimeError when it fails."""
        with self.building() as (process, said):
            if process.wait():
                raise RuntimeError(said.read_text())
            return re.findall(r"^Running stage '(\w+)'", said.read_text(), re.MULTILINE)

    def seconds(self, stage: str) -> float:
        """Return how long `stage` takes undisturbed; it is made to run for that."""
        forget(self.folder, stage)
        with self.building() as (process, said):
            began = _wait_for(stage, process, said)
            while process.poll() is None and not re.search(r"\n(Running|Updating)", _after(stage, said)):
                time.sleep(0.01)
            return time.monotonic() - began

    def kill(self, stage: str, instant: float, reference: Mapping[str, str]) -> Kill:
        """Have `stage` run, kill everything `instant` seconds after it began, build again, and compare."""
        forget(self.folder, stage)
        with self.building() as (process, said):
            _wait_for(stage, process, said)
            try:
                process.wait(instant)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self.project.run(sys.executable, "-m", "ollamake", "check")  # as `make build` does: dvc.lock may be empty now
        ended, again = process.returncode != -signal.SIGKILL, self.build()
        found = self.digests()
        differs = sorted({name for name, _ in found.items() ^ reference.items()}) + self.damaged()
        return Kill(stage, instant, ended, stage in again, differs)


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def _after(stage: str, said: Path) -> str:
    return said.read_text().partition(f"Running stage '{stage}'")[2]


def _wait_for(stage: str, process: subprocess.Popen[bytes], said: Path) -> float:
    """Wait until DVC starts `stage`; return that moment. Raises RuntimeError when the build ends without."""
    while not _after(stage, said):
        if process.poll() is not None and not _after(stage, said):
            raise RuntimeError(f"{stage} did not run\n{said.read_text()}")
        time.sleep(0.01)
    return time.monotonic()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, help="may be given several times; all by default")
    parser.add_argument("--kills", type=int, default=20, help="of each stage")
    parser.add_argument("--seed", type=int, default=1, help="of the instants")
    options = parser.parse_args()
    kills, dice = [], random.Random(options.seed)  # noqa: S311 - it is no secret
    with TemporaryDirectory(prefix="ollamake-kills-") as scratch, tiny_victim(Path(scratch)) as victim:
        for stage in options.stage or STAGES:
            took = victim.seconds(stage)
            reference = victim.digests()
            print(f"{stage}: {took:.1f} s undisturbed, {len(reference)} files", flush=True)
            for _ in range(options.kills):
                kills.append(victim.kill(stage, dice.uniform(0, took + AFTER_SECONDS), reference))
                print(kills[-1], flush=True)
    same = sum(not one.differs for one in kills)
    print(f"{same} of {len(kills)} the same bytes, {sum(one.ran_again for one in kills)} of them by running it again")
    return int(same < len(kills))


@contextmanager
def tiny_victim(scratch: Path) -> Iterator[Victim]:
    """Build a tiny project below `scratch`, with a stand-in for Ollama beside it."""
    conftest.pytest_configure()
    tokenizer = max((conftest.STORE / "tests").glob("smollm2-tokenizer-*"), key=lambda folder: folder.stat().st_mtime)
    base = build_tiny_model(scratch / "base", tokenizer_from=tokenizer)
    with ExitStack() as stack:
        server = stack.enter_context(running(scratch / "server"))
        victim = Victim(start(scratch / "a project", base), server.url)
        victim.build()
        yield victim


if __name__ == "__main__":
    sys.exit(main())
