"""A small repository with a real DVC graph of five stages, and the parameters that ollamake's own stages read."""

import os
import shutil
import subprocess
from pathlib import Path

from dvc.repo import Repo

ROOT = Path(__file__).parents[1]
GRAPH = """\
stages:
  prepare:
    cmd: cat ${data_source} code/*.py > data.txt
    deps: [code, "${data_source}"]
    params: [split_seed]
    outs: [data.txt]
  train:
    cmd: (cat data.txt; grep lora_rank params.yaml) > model.txt
    deps: [data.txt]
    params: [lora_rank, "pins.yaml": [torch]]
    outs: [model.txt]
  baseline:
    cmd: cp data.txt baseline.txt
    deps: [data.txt]
    outs: [baseline.txt]
  evaluate:
    cmd: cat model.txt baseline.txt > scores.txt
    deps: [model.txt, baseline.txt]
    outs: [scores.txt]
  export:
    cmd: echo served
    always_changed: true
    deps: [scores.txt]
"""


def lay_out(folder: Path) -> Path:
    """Write the repository, run its graph with DVC, and commit; return `folder`."""
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "pins.yaml").write_text("torch: 2.13.0\n")
    (folder / "raw.txt").write_text("rows\n")
    (folder / "code").mkdir()
    for name in ("rows", "split", "shape", "near", "order"):
        (folder / f"code/{name}.py").write_text(f"# {name}\n")
    with_line(folder / "params.yaml", "data_source", "raw.txt")
    git(folder, "init", "--quiet")
    here = Path.cwd()
    os.chdir(folder)
    try:
        with Repo.init() as repository:
            repository.reproduce()
    finally:
        os.chdir(here)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "built")
    return folder


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody."""
    name = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True)


def with_line(path: Path, key: str, value: object) -> None:
    """Give a parameter another value, as an editor would."""
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{key}: {value}\n" if line.startswith(f"{key}:") else f"{line}\n" for line in lines))


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in every file, but for those in DVC's folder for passing things."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_relative_to(folder / ".dvc/tmp"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
