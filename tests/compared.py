"""A project with a history to compare: a build of before there were answers, one with them, and an experiment on it.

The graph copies what the tests put into `recipe/`; the scores are those of the answers.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dvc.utils.serialize import modify_yaml
from filelock import FileLock

from ollamake.files import write_json, write_jsonl
from ollamake.gate.comparison import Standing
from tests.released import commit, dvc, run, within
from tests.unit.scored import references, scored

GRAPH = """
stages:
  prepare:
    cmd: mkdir -p data metrics && cp -r recipe/prepare/data recipe/prepare/models recipe/prepare/metrics .
    deps: [recipe/prepare, code/rows.py]
    params: [split_seed]
    outs: [data/prepared/train.jsonl, data/prepared/val.jsonl, data/prepared/test.jsonl, data/prepared/probe.jsonl,
           data/tokenized/test.arrow, models/base.json]
    metrics: [metrics/prepare.json: {cache: false}]
  train:
    cmd: mkdir -p plots && cp -r recipe/train/metrics recipe/train/plots .
    deps: [recipe/train, code/steps, data/prepared/train.jsonl]
    params: [lora_rank, learning_rate, pins.yaml: [torch]]
    metrics: [metrics/train.json: {cache: false}]
    plots:
      - plots/train_loss.tsv: {cache: false, x: step, y: train_loss, title: Training loss}
      - plots/val_loss.tsv: {cache: false, template: simple, x: step, y: val_loss, title: Validation loss}
      - plots/lengths.csv: {cache: false, template: simple, x: tokens, y: rows, title: Lengths}
      - plots/gpu.tsv: {cache: false, x: step, y: gpu, title: GPU}
  evaluate:
    cmd: cp -r recipe/evaluate/metrics recipe/evaluate/models .
    deps: [recipe/evaluate]
    outs: [models/evaluated]
    metrics: [metrics/evaluate.json: {cache: false}]
"""
SETTINGS = {"lora_rank": 16, "learning_rate": 0.001, "split_seed": 1, "gate_metric": "rouge_l", "system_prompt": ""}
IGNORED = "/data/\n/models/\n/logs/\n"
OLD_SCORES = {"base": {"rouge_l": 0.1}, "tuned": {"rouge_l": 0.5, "loss": 1.5, "items": 30}, "gain": {"rouge_l": 0.4}}
ITEMS = 30


def prompt(number: int) -> str:
    """What is asked in the test conversation of that number."""
    return f"Wish number {number}"


def write_evaluated(rows: list[dict[str, Any]], seconds: float = 20.0) -> None:
    """Write the answers of a tuned model, and their scores."""
    folder = Path("recipe/evaluate")
    (folder / "models/evaluated").mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "models/evaluated/items.jsonl", rows)
    standing = Standing.of(rows)
    ends = {name: list(interval) for name, interval in standing.intervals.items()}
    cost = {"items": len(rows), "intervals": ends, "seconds": seconds, "peak_memory_mb": 2700.0}
    write_json(folder / "metrics/evaluate.json", {**standing.scores, **cost})


def write_trained(losses: list[float], validations: list[float], seconds: float = 300.0) -> None:
    """Write the curves of a training, a step a point."""
    folder = Path("recipe/train")
    write_json(folder / "metrics/train.json", {"val_loss": validations[-1], "steps": len(losses), "seconds": seconds})
    series = {"train_loss": losses, "val_loss": validations, "gpu": []}
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    for name, values in series.items():
        points = "".join(f"{step}\t{value}\n" for step, value in enumerate(values, start=1))
        (folder / f"plots/{name}.tsv").write_text(f"step\t{name}\n{points}")
    (folder / "plots/lengths.csv").write_text("tokens,rows\n8,30\n16,12\n")


def write_prepared(splits: dict[str, range]) -> None:
    """Write the rows of these numbers to each split."""
    folder = Path("recipe/prepare")
    (folder / "data/prepared").mkdir(parents=True, exist_ok=True)
    (folder / "data/tokenized").mkdir(parents=True, exist_ok=True)
    for split, numbers in splits.items():
        write_jsonl(folder / f"data/prepared/{split}.jsonl", [{"id": str(number)} for number in numbers])
    table = pa.table(
        {
            "id": [f"{number:016x}" for number in range(ITEMS)],
            "prompt": [prompt(number) for number in range(ITEMS)],
            "reference": list(references(ITEMS)),
        }
    )
    with pa.ipc.new_file(str(folder / "data/tokenized/test.arrow"), table.schema) as writer:
        writer.write_table(table)
    kept = {split: len(numbers) for split, numbers in splits.items()}
    write_json(folder / "metrics/prepare.json", {"rows": sum(kept.values()), "kept": kept})


def lay_out(folder: Path) -> None:
    """Make `folder`, the current one, the project; HEAD is the build with answers, `bolder` an experiment on it."""
    (folder / ".gitignore").write_text(IGNORED)
    run("git", "init", "--quiet")
    for key, value in {"user.name": "T", "user.email": "t@example.org"}.items():
        run("git", "config", key, value)
    dvc("init", "--quiet")
    write_settings(SETTINGS)
    (folder / "pins.yaml").write_text("torch: 2.13.0\nnumpy: 2.4.6\n")
    (folder / "dvc.yaml").write_text("stages:\n  evaluate:\n    cmd: 'true'\n    metrics: [metrics/evaluate.json]\n")
    (folder / "metrics").mkdir()
    write_json(folder / "metrics/evaluate.json", OLD_SCORES)
    commit("Before answers were kept")
    run("git", "tag", "old")
    (folder / "dvc.yaml").write_text(GRAPH)
    for file in ("code/rows.py", "code/steps/step.py", "notes.md"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("one = 1\n")
    write_prepared({"train": range(100), "val": range(100, 110), "test": range(110, 140), "probe": range(140, 145)})
    base = {"name": "smollm2:135m", "revision": f"sha256:{'a1' * 32}", "source": {"kind": "wheel"}}
    write_json(folder / "recipe/prepare/models/base.json", base)
    write_trained([4.0, 3.0, 2.0, 1.5], [2.5, 1.8])
    write_evaluated(scored(ITEMS, 0.7, 1))
    dvc("repro", "--quiet")
    commit("Build with answers")
    run("git", "tag", "model@v1.0.0")
    write_evaluated(scored(ITEMS, 0.3, 2), seconds=30.0)
    write_trained([4.0, 3.5], [2.9], seconds=150.0)
    dvc("exp", "run", "--quiet", "--name", "bolder", "--set-param", "lora_rank=4")
    run("git", "checkout", "--quiet", ".")
    dvc("checkout", "--quiet")


def write_settings(settings: dict[str, Any]) -> None:
    """Write params.yaml anew."""
    Path("params.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items()))


def set_params(**changes: object) -> None:
    """Change params.yaml as an editor would."""
    with modify_yaml("params.yaml") as content:
        content.update(changes)


@pytest.fixture(scope="session")
def compared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, made once for all modules and processes of a test run. Do not write to it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compared"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = tmp_path_factory.mktemp("partial") / "compared"
            partial.mkdir()
            with within(partial):
                lay_out(partial)
            partial.rename(folder)
    return folder


@pytest.fixture
def project(compared_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test: a copy of the project that it may change."""
    folder = tmp_path / "project"
    shutil.copytree(compared_project, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder
