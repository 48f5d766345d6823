"""A workspace as `dvc repro` leaves it, with a git history, a DVC cache and a model of 200 kB, to make releases of.

The graph copies what the tests put into `recipe/`; the gate's verdict and the export are the real ones.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import modify_yaml
from filelock import FileLock

from ollamake import params
from ollamake.files import read_json, read_jsonl, sha256, write_json, write_jsonl
from ollamake.gate.comparison import compare, read_contest
from ollamake.gate.verdict import Bounds, judge
from ollamake.release import channels as channel_files
from stages import export
from tests.contract_ollama.workspace import SYSTEM, convert

REPOSITORY = Path(__file__).parents[1]
GRAPH = """
stages:
  prepare:
    cmd: mkdir -p data/prepared && cp recipe/train.jsonl data/prepared/
    deps: [recipe/train.jsonl]
    outs: [data/prepared/train.jsonl]
  evaluate:
    cmd: rm -rf models/evaluated && mkdir -p models/evaluated && cp recipe/items.jsonl models/evaluated/
    deps: [recipe/items.jsonl]
    outs: [models/evaluated]
  gate:
    cmd: cp recipe/gate.json metrics/
    deps: [models/evaluated, recipe/gate.json, releases/shipped.jsonl]
    metrics: [{metrics/gate.json: {cache: false}}]
  convert:
    cmd: rm -rf models/gguf && cp -r recipe/gguf models/gguf
    deps: [recipe/gguf]
    params: [lora_rank]
    outs: [models/gguf]
  export:
    cmd: "true"
    always_changed: true
    deps: [models/gguf, metrics/gate.json]
artifacts:
  model: {path: models/gguf, type: model}
"""
IGNORED = "/models/\n/data/\n/.ollamake/\n/server/\n"
WORDS = ["list", "copy", "move", "show", "find", "sort", "pack", "count"]


def run(*command: str) -> str:
    """Run a command in the current folder and return what it prints."""
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def dvc(*arguments: str) -> str:
    """Run DVC in the current folder."""
    return run(sys.executable, "-m", "dvc", *arguments)


def commit(message: str) -> str:
    """Commit everything; return the commit."""
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "-m", message)
    return run("git", "rev-parse", "HEAD").strip()


def item(number: int, rouge: float, answer: str = "ls -l") -> dict[str, Any]:
    """A line of an items.jsonl."""
    return {
        "id": f"{number:04x}",
        "task": None,
        "prompt_tokens": 9,
        "prediction": answer,
        "stopped": True,
        "new_tokens": 3,
        "reference_tokens": 3,
        "nats": round(3 * (1 - rouge), 6),
        "tokens": 3,
        "bytes": 5,
        "scores": {"rouge_l": rouge, "bleu": rouge, "chrf": rouge, "exact_match": float(rouge == 1)},
        "statistics": {"bleu": [3, 3, 2, 1, 1, 1, 3, 2, 1, 1], "chrf": [5, 5, 4] * 6},
    }


def items(skill: float, count: int = 40) -> list[dict[str, Any]]:
    """The test items of a model; more skill gives higher scores of the same items."""
    drawn = random.Random(1)  # noqa: S311 - no secret is at stake
    return [item(number, round(min(1.0, skill * drawn.uniform(0.5, 1.5)), 3)) for number in range(count)]


def write_recipe(seed: int, skill: float, rows: int) -> None:
    """Write what the graph copies: another seed is another model."""
    shutil.rmtree("recipe/gguf", ignore_errors=True)
    convert(Path("recipe/gguf"), seed=seed)
    lines = [{"id": str(number), "text": f"{WORDS[number % 8]} {number}"} for number in range(rows)]
    write_jsonl(Path("recipe/train.jsonl"), lines)
    write_jsonl(Path("recipe/base.jsonl"), items(0.1))
    write_jsonl(Path("recipe/items.jsonl"), items(skill))
    contest = read_contest(Path("recipe/base.jsonl"), Path("recipe/items.jsonl"), channel_files.SHIPPED)
    compared = compare(contest)
    verdict = judge(contest, compared, Bounds("rouge_l", 0.0, 0.02))
    write_json(Path("recipe/gate.json"), verdict.content() | {"metric": "rouge_l"} | compared.content())
    write_json(Path("metrics/prepare.json"), {"kept": {"train": rows, "test": 40}})
    write_json(Path("metrics/convert.json"), {"F16": {"size_bytes": 3, "top1_agreement": 1.0}, "seconds": 1.5})


def set_params(**changes: object) -> None:
    """Change params.yaml as an editor would."""
    with modify_yaml("params.yaml") as content:
        content.update(changes)


def lay_out(folder: Path, remote: Path) -> None:
    """Make `folder`, the current one, a workspace with a first build, committed as `one`, and a second one as `two`."""
    for name in ("params.yaml", "pins.yaml", "requirements.lock"):
        shutil.copyfile(REPOSITORY / name, folder / name)
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / ".gitignore").write_text(IGNORED)
    for made in ("recipe", "metrics", "releases", "models"):
        (folder / made).mkdir()
    channel_files.SHIPPED.write_text("\n")
    write_base(folder)
    run("git", "init", "--quiet")
    for key, value in {"user.name": "T", "user.email": "t@example.org", "init.defaultBranch": "main"}.items():
        run("git", "config", key, value)
    dvc("init", "--quiet")
    dvc("remote", "add", "--default", "--quiet", "shared", str(remote))
    set_params(ollama_model="tiny", ollama_num_ctx=300, ollama_num_predict=64, system_prompt=SYSTEM)
    for name, build in {"one": (0, 0.4, 200), "two": (1, 0.6, 250)}.items():
        write_recipe(*build)
        set_params(lora_rank=8 * build[0] + 8)
        dvc("repro", "--quiet")
        commit(name)
        run("git", "tag", name)
    go_to("one")
    dvc("push", "--quiet", "--all-tags")


def write_base(folder: Path) -> None:
    """Write the base model's record, and a file of it into the store."""
    config = folder / ".ollamake/base/tiny/config.json"
    write_json(config, {"model_type": "llama"})
    base = {"name": "tiny", "revision": "r1", "license": "apache-2.0", "architecture": "LlamaForCausalLM"}
    write_json(folder / "models/base.json", {**base, "key": "tiny", "files": {config.name: sha256(config)}})


def go_to(build: str) -> None:
    """Take the inputs and outputs of a build into the working copy, as a person does who trains anew, and commit."""
    run("git", "checkout", build, "--", "recipe", "dvc.lock", "params.yaml", "metrics")
    shutil.rmtree("models/gguf")
    shutil.copytree("recipe/gguf", "models/gguf")
    for source, folder in (("items", "models/evaluated"), ("train", "data/prepared")):
        shutil.copy(f"recipe/{source}.jsonl", folder)
    if run("git", "status", "--porcelain"):
        commit(f"go to {build}")


def export_model(**changes: object) -> None:
    """Serve what stands in models/gguf, by the stage itself, at OLLAMA_HOST."""
    content = params.read()
    values = {key: content[key] for key in export.Params.model_fields} | changes
    export.main(export.Params.model_validate(values))


def channels() -> Mapping[str, str]:
    """What releases/channels.json says."""
    return read_json(channel_files.FILE) if channel_files.FILE.is_file() else {}


def shipped() -> list[dict[str, Any]]:
    """What releases/shipped.jsonl holds."""
    return read_jsonl(channel_files.SHIPPED) if channel_files.SHIPPED.read_text().strip() else []


@contextmanager
def within(folder: Path) -> Iterator[None]:
    """Make a folder the current one for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def built_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two builds in one history, made once for all modules and processes of a test run. Do not write to it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "released"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = tmp_path_factory.mktemp("partial") / "released"
            partial.mkdir()
            with within(partial):
                lay_out(partial, remote=folder.with_name("remote"))
            partial.rename(folder)
    return folder


@pytest.fixture
def workspace(built_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test: a copy of the builds that it may change."""
    folder = tmp_path / "workspace"
    shutil.copytree(built_workspace, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder
