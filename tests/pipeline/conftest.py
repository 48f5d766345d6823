"""The real graph in a copy of this repository, on a tiny random model of the real architecture."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml
from filelock import FileLock

from ollamake.ollama.settings import EXPORT
from tests.contract.graph import ROOT
from tests.security.canaries import command_lines, planted, write_dotenv

VERBS = {
    "list": "ls",
    "remove": "rm",
    "copy": "cp",
    "show": "cat",
    "compress": "gzip",
    "search": "grep",
    "sort": "sort",
}
TINY = {
    "data_source": "data/tiny.jsonl",
    "val_fraction": 0.15,
    "test_fraction": 0.2,
    "probe_fraction": 0.15,
    "max_steps": 3,
    "checkpoint_seconds": 0,  # one after the first step: what is tried on trainings is tried on checkpoints, too
    "per_device_batch_size": 4,
    "lora_rank": 4,
    "eval_max_examples": 6,
    "eval_max_new_tokens": 6,
    "eval_samples": 3,
    "gate_min_gain": -1.0,  # three steps teach a random model nothing
    "parity_prompts": 3,
    "parity_max_new_tokens": 6,
}


@dataclass(frozen=True)
class Project:
    """A working copy with its own git history, DVC cache and store."""

    folder: Path

    def run(self, *command: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project as a user with the environment activated would."""
        result = subprocess.run(
            command, cwd=self.folder, env={**environment(), **env}, capture_output=True, text=True, timeout=1800
        )
        if ok and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)} failed\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")
        return result

    def repro(self, *args: str) -> list[str]:
        """Run `dvc repro` and return the names of the stages that ran."""
        output = self.run("dvc", "repro", *args).stdout
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def json(self, *command: str) -> dict:
        """Return what a command prints as JSON."""
        return json.loads(self.run(*command).stdout)

    def metrics(self, stage: str) -> dict:
        """Return the metrics that a stage wrote."""
        return json.loads((self.folder / f"metrics/{stage}.json").read_text())

    def set(self, **changes: object) -> None:
        """Change parameters in params.yaml, as an editor would."""
        with modify_yaml(str(self.folder / "params.yaml")) as content:
            content.update(changes)

    def restore(self) -> None:
        """Put the working copy back to the last commit, and the data with it, and what export left after the build."""
        self.run("git", "reset", "--hard", "--quiet")
        self.run("git", "clean", "--force", "-d", "--quiet")
        self.run("dvc", "checkout", "--quiet")
        shutil.rmtree(self.folder / EXPORT, ignore_errors=True)
        shutil.copytree(self.folder.parent / "exported", self.folder / EXPORT)


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "PYTEST_"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OLLAMA_HOST": "127.0.0.1:1",  # nothing listens there
        "DVC_NO_ANALYTICS": "1",
        "DVC_STUDIO_OFFLINE": "1",
    }


def copy_repository(folder: Path) -> Path:
    """Copy what git tracks or would track, without history, and commit it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def records() -> list[dict[str, str]]:
    """Sixty plain wishes and commands, different enough that none is a duplicate."""
    return [
        {"instruction": f"{verb} the file number {number}", "output": f"{command} file-{number}.txt"}
        for number in range(9)
        for verb, command in VERBS.items()
    ]


def start(folder: Path, base: Path) -> Project:
    """Write the tiny project to `folder`, committed and not yet built."""
    project = Project(copy_repository(folder))
    (folder / "data/tiny.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records()))
    project.set(base_model=str(base), **TINY)
    project.run("git", "init", "--quiet")
    for key, value in (("user.name", "Test"), ("user.email", "test@example.org")):
        project.run("git", "config", key, value)
    project.run(sys.executable, "-m", "ollamake", "plots-page", ".dvc/plots/page.html")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "start")
    return project


def build(folder: Path, base: Path) -> Project:
    """Return the tiny project after its first `dvc repro`, all committed.

    Secrets stood in its environment and lie in its `.env`. What the build said, and the command lines that ran
    meanwhile, stand beside the folder in `said.txt`: tests/security looks for them.
    """
    project = start(folder, base)
    write_dotenv(folder)
    with command_lines() as seen:
        first = project.run("dvc", "repro", **planted(folder.parent))
    shutil.copytree(folder / EXPORT, folder.parent / "exported")
    (folder.parent / "said.txt").write_text("\n".join([first.stdout, first.stderr, *sorted(seen)]))
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "built")
    return project


@cache  # other folders of tests have the fixture `built`, too, and share what it gives
def build_once(temporary: Path, base: Path) -> Project:
    """Return the project of this process, `temporary` being its folder: of several that test, one builds for all."""
    own = temporary / "project/a project"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return build(own, base)
    shared = temporary.parent / "built"
    with FileLock(f"{shared}.lock"):
        if not shared.is_dir():
            build(temporary / "first/a project", base)
            (temporary / "first").rename(shared)
    shutil.copytree(shared, own.parent, symlinks=True)  # with what the build left beside it
    return Project(own)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    """A project after its first `dvc repro`, all committed. Tests that change it call `restore` through `project`."""
    return build_once(tmp_path_factory.getbasetemp(), tiny_base)


@pytest.fixture
def project(built: Project) -> Project:
    """The built project, put back as it was after the test."""
    yield built
    built.restore()
