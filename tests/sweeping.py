"""A repository with a graph of three stages that take milliseconds, to sweep over with the real git, DVC and Optuna.

What the stages do beside their work stands in a folder outside of it, so that a test can make them wait, fail or hang
while they run: `hang-<rank>` and `fail-<rank>` are files there, and `ran` gets a line for each stage that runs.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from ruamel.yaml import YAML

from ollamake.sweep.storage import open_storage

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120

DVC_YAML = """\
stages:
  prepare:
    cmd: python work.py prepare
    deps: [work.py]
    params: [split_seed]
    outs: [data/prepared.txt]
  train:
    cmd: python work.py train
    deps: [data/prepared.txt]
    params: [learning_rate, lora_rank, max_steps, method]
    outs: [models/tuned]
    plots:
      - plots/train/metrics/val_loss.tsv:
          cache: false
  evaluate:
    cmd: python work.py evaluate
    deps: [models/tuned]
    metrics:
      - metrics/evaluate.json:
          cache: false
  convert:
    cmd: python work.py convert
    deps: [models/tuned]
    params: [quantization]
    outs: [models/gguf]
"""
PARAMS = """\
split_seed: 1 # data
learning_rate: 0.001 # above 0
lora_rank: 4 # 1 to 64
max_steps: 4
method: lora # lora or full
quantization: Q8_0
"""
STAGES = """\
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ollamake.params import StageParams


class Params(StageParams):
    {fields}
"""
FIELDS = {
    "prepare": "split_seed: int",
    "train": "learning_rate: PositiveFloat; lora_rank: int = Field(ge=1, le=64); max_steps: PositiveInt; "
    "method: Literal['lora', 'full']",
    "convert": "quantization: str",
}
WORK = '''\
"""All stages of the graph."""

import json
import os
import sys
import time
from pathlib import Path

HERE, CONTROL = Path(), Path(os.environ["SWEEP_CONTROL"])
CODE = "as committed"


def note(text):
    with (CONTROL / "ran").open("a") as stream:
        stream.write(text + "\\n")


def write(name, text):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def train(params):
    rank = params["lora_rank"]
    checkpoints = Path(os.environ["DVC_ROOT"]) / ".checkpoints" / f"rank-{rank}"
    note(f"train {rank} {CODE} on {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}")
    if checkpoints.exists():
        note(f"resumed {rank}")
    if (CONTROL / f"fail-{rank}").exists():
        checkpoints.mkdir(parents=True)
        sys.exit("error: models/base.json: no such base model\\nhint: fetch it")
    curve = HERE / "plots/train/metrics/val_loss.tsv"
    curve.parent.mkdir(parents=True, exist_ok=True)
    curve.write_text("step\\tval_loss\\n")
    for step in range(1, params["max_steps"] + 1):
        with curve.open("a") as stream:
            stream.write(f"{10 * step}\\t{loss(params) + 1 / step}\\n")
        checkpoints.mkdir(parents=True, exist_ok=True)
        while (CONTROL / f"hang-{rank}").exists():
            note(f"hangs {rank}")
            time.sleep(0.02)
    write("models/tuned", json.dumps(params))


def loss(params):
    return 100 * abs(params["learning_rate"] - 0.002) + abs(params["lora_rank"] - 16) / 16


def evaluate(params):
    note("evaluate")
    tuned = json.loads((HERE / "models/tuned").read_text())
    found = {"loss": loss(tuned), "rouge_l": 1 / (1 + loss(tuned)), "cost": tuned["lora_rank"], "interval": [0, 1]}
    write("metrics/evaluate.json", json.dumps(found))


if "OLLAMAKE_TRIAL" in os.environ and {"PGPASSWORD", "OLLAMAKE_SWEEP_STORAGE"} & os.environ.keys():
    sys.exit("error: a stage knows the password of the storage")
stage = sys.argv[1]
params = dict(line.split(" #")[0].strip().split(": ", 1) for line in Path("params.yaml").read_text().splitlines())
numbers = {name: value if name in ("method", "quantization") else json.loads(value) for name, value in params.items()}
if stage in ("train", "evaluate"):
    globals()[stage](numbers)
else:
    note(stage)
    write({"prepare": "data/prepared.txt", "convert": "models/gguf"}[stage], stage)
'''
SWEEP: dict[str, Any] = {
    "name": "ranks",
    "objective": {"loss": "minimize"},
    "sampler": "grid",
    "trials": 3,
    "space": {"lora_rank": {"choices": [4, 8, 16]}},
}


class Repository:
    """The repository at `path`, and the folder `control` beside it."""

    def __init__(self, path: Path, control: Path) -> None:
        self.path, self.control = path, control
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "OLLAMAKE_"))}
        self.environment = {
            **own,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SWEEP_CONTROL": str(control),
            "DVC_SITE_CACHE_DIR": str(control / "site"),
            "DVC_NO_ANALYTICS": "1",
            "PGPASSWORD": "not for trials",
            # Nothing that a user has set, such as signed commits or hooks.
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "COLUMNS": "200",
        }

    def copy(self, path: Path) -> "Repository":
        """Return a copy of it in the folder `path`, as it stands."""
        shutil.copytree(self.path, path / "repository", symlinks=True)
        (path / "control").mkdir()
        return Repository(path / "repository", path / "control")

    def do(self, *command: str) -> str:
        """Run a command in it and return what it prints."""
        ran = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def write_sweep(self, **lines: Any) -> None:
        """Write sweep.yaml: that of these tests, with other lines where they are given."""
        with (self.path / "sweep.yaml").open("w") as stream:
            YAML().dump({**SWEEP, **lines}, stream)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `ollamake sweep`."""
        return [sys.executable, "-m", "ollamake", "sweep", *arguments]

    def sweep(self, *arguments: str, code: int = 0) -> str:
        """Run `ollamake sweep` to its end and return all it says."""
        ran = subprocess.run(
            self.command(*arguments), cwd=self.path, env=self.environment, capture_output=True, text=True,
            timeout=4 * PATIENCE_SECONDS,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `ollamake sweep`; what it says goes to `control`/said."""
        with (self.control / "said").open("a") as stream:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.path,
                env=self.environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    @property
    def ran(self) -> list[str]:
        """What the stages noted, without repetitions of the same line one after the other."""
        path = self.control / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for number, line in enumerate(lines) if number == 0 or lines[number - 1] != line]

    def trials(self, name: str = "ranks") -> list[optuna.trial.FrozenTrial]:
        """Return the trials of the study, read as another process would."""
        journal = self.path / ".ollamake/sweeps" / name / "journal.log"
        return optuna.load_study(study_name=name, storage=open_storage(f"journal:{journal}", name)).get_trials()

    def experiments(self) -> list[str]:
        """Return the names of the experiments in it."""
        refs = self.do("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
        return sorted(ref.rpartition("/")[2] for ref in refs if "/exec/" not in ref and "/apply/" not in ref)

    def leftovers(self, name: str = "ranks") -> list[str]:
        """Return what trials left in it: folders of slots, DVC's temporary copies, kept checkpoints."""
        patterns = (
            f".ollamake/sweeps/{name}/slots/*/",
            f".ollamake/sweeps/{name}/checkpoints/*",
            ".dvc/tmp/exps/**/tmp*",
        )
        return [str(found) for pattern in patterns for found in self.path.glob(pattern)]


def build(path: Path, control: Path) -> Repository:
    """Make the repository in `path`, run its graph once, and commit the results."""
    (path / "stages").mkdir(parents=True)
    control.mkdir(parents=True)
    repository = Repository(path, control)
    files = {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "work.py": WORK, "stages/__init__.py": ""}
    files[".gitignore"] = "/data/\n/models/\n/.ollamake/\n__pycache__/\n"
    files |= {f"stages/{name}.py": STAGES.format(fields=fields) for name, fields in FIELDS.items()}
    for name, text in files.items():
        (path / name).write_text(text)
    repository.write_sweep()
    repository.do("git", "init", "--quiet")
    repository.do("git", "config", "user.email", "sweep@example.org")
    repository.do("git", "config", "user.name", "sweep")
    repository.do("dvc", "init", "--quiet")
    repository.do("dvc", "repro", "--quiet")
    repository.do("git", "add", "--all")
    repository.do("git", "commit", "--quiet", "--message", "start")
    (control / "ran").unlink()
    return repository


def wait(happened: Callable[[], Any], what: str = "what the test waits for") -> Any:
    """Return what `happened` returns once that is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")
