"""What `python -m ollamake plan` predicts against what is measured: time and peak memory of every stage with a model.

python -m benchmarks.plan                       # two models of random weights, 64 wide and 256 wide: ten minutes
python -m benchmarks.plan --models default      # the base model of params.yaml, from this checkout's store: longer

Each runs the graph in a throw-away clone whose DVC cache is empty, so that the predictions are the built-in ones,
without any run of this machine. The clock means little on a busy machine: beside it stand the processor seconds of one
thread, which the constants in ollamake/plan/seconds.py are of. Ends with 1 where a peak is not within its budget.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.launch import end_when_told, launch, telling_failures
from ollamake.base import RECORD, open_base
from ollamake.files import read_json, write_json

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "data/raw"
STAGES = ("tokenize", "train", "baseline", "evaluate", "convert")
MEMORY_BUDGET, TIME_BUDGET = 0.2, 0.3
# Width, width of the feed-forward layers, layers, heads, heads of keys and values.
SIZES = {"64": (64, 192, 2, 4, 2), "256": (256, 768, 8, 4, 2)}
# Embeddings that outweigh what the layers add: the choices of a random model are then far enough apart that llama.cpp
# and torch make the same ones, as convert demands.
SPREAD, EMBEDDING_SPREAD = 0.02, 0.45


class Row(NamedTuple):
    """A stage: predicted seconds and bytes, seconds of the clock and of the processor, bytes at the peak."""

    stage: str
    predicted_seconds: float
    seconds: float
    processor_seconds: float
    predicted_bytes: float
    peak_bytes: float


def main() -> None:
    """Run, print a table for each model, and exit with 1 beyond the budget of memory."""
    end_when_told()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=[*SIZES, "default"], default=list(SIZES))
    parser.add_argument(
        "-S", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="as for dvc exp run"
    )
    given = parser.parse_args()
    with telling_failures():
        off = [one for model in given.models for one in report(model, measured(model, given.changes))]
    sys.exit(bool(off))


def measured(model: str, changes: list[str]) -> list[Row]:
    """Run the graph on a model in a throw-away clone; return each stage with what was predicted before it ran."""
    with tempfile.TemporaryDirectory(prefix="ollamake-plan-") as name:
        folder = clone(Path(name, "clone"))
        source = "" if model == "default" else str(write_model(SIZES[model], Path(name, "base")))
        settle(folder, source, changes)
        rows = []
        for stage in STAGES:
            plan = json.loads(run(["ollamake", "plan", stage, "--json"], folder).output)
            entry = next(entry for entry in plan["stages"] if entry["stage"] == stage)
            rows.append(_row(entry, folder))
        return rows


def _row(entry: Mapping[str, Any], folder: Path) -> Row:
    """Run a stage and set it beside its prediction."""
    stage, before = entry["stage"], _processor_seconds()
    done = run([f"stages.{stage}"], folder)
    processor = _processor_seconds() - before
    told = read_json(folder / f"metrics/{stage}.json").get("peak_memory_mb")
    return Row(
        stage=stage,
        predicted_seconds=entry["seconds"],
        seconds=done.seconds,
        processor_seconds=processor,
        predicted_bytes=entry["peak_memory_bytes"] or 0,
        peak_bytes=told * 1e6 if told else 0,
    )


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(module: list[str], folder: Path) -> Any:
    """Run `python -m` in the clone, with one thread and without a network."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "COLUMNS": "100",
    }
    return launch([sys.executable, "-W", "ignore", "-m", *module], folder, environment)


def clone(folder: Path) -> Path:
    """Copy what git tracks or would track to `folder`, with a history and a DVC cache of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith(("metrics/", "plots/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    nobody = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    subprocess.run(["git", *nobody, "commit", "--quiet", "--allow-empty", "-m", "start"], cwd=folder, check=True)
    return folder


def write_model(size: tuple[int, int, int, int, int], folder: Path) -> Path:
    """Write a Llama of random weights with the default base model's tokenizer, whose texts llama.cpp can read."""
    import numpy as np
    from safetensors.numpy import save_file

    base = open_base(RECORD)
    width, inner, layers, heads, key_value_heads = size
    folder.mkdir()
    for file in base.folder.iterdir():
        if file.suffix in (".json", ".jinja") and file.name != "config.json":
            shutil.copyfile(file, folder / file.name)
    changes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    changes |= {"num_attention_heads": heads, "num_key_value_heads": key_value_heads, "head_dim": width // heads}
    write_json(folder / "config.json", {**base.config, **changes})
    dice = np.random.default_rng(0)
    words, narrow = base.config["vocab_size"], width // heads * key_value_heads
    shapes = {"model.embed_tokens": (words, width), "model.norm": (width,)}
    for layer in range(layers):
        start = f"model.layers.{layer}"
        shapes |= {f"{start}.{name}": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{start}.self_attn.{name}_proj": (width, width) for name in ("q", "o")}
        shapes |= {f"{start}.self_attn.{name}_proj": (narrow, width) for name in ("k", "v")}
        shapes |= {f"{start}.mlp.{name}_proj": (inner, width) for name in ("gate", "up")}
        shapes |= {f"{start}.mlp.down_proj": (width, inner)}
    weights = {}
    for name, shape in shapes.items():
        spread = EMBEDDING_SPREAD if "embed" in name else SPREAD
        drawn = dice.normal(0, spread, shape) if len(shape) > 1 else np.ones(shape)
        weights[f"{name}.weight"] = drawn.astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def settle(folder: Path, source: str, changes: list[str]) -> None:
    """Set the parameters and run what comes before tokenize; `source` is a folder, empty for the default base model."""
    from dvc.utils.hydra import apply_overrides

    records = folder / "data/records.jsonl"
    records.write_bytes(b"".join(file.read_bytes() for file in sorted(RECORDS.glob("*.jsonl"))))
    own = ["data_source=data/records.jsonl", *([f"base_model={source}"] if source else []), *changes]
    apply_overrides(folder / "params.yaml", own)
    if not source:
        (folder / ".ollamake").mkdir()
        for name in ("base", "downloads", "requests"):
            (folder / ".ollamake" / name).symlink_to(ROOT / ".ollamake" / name)
    for stage in ("fetch", "collect", "prepare", "distill"):
        run([f"stages.{stage}"], folder)


def report(model: str, rows: list[Row]) -> list[str]:
    """Print a table and return the stages whose peak is not within the budget."""
    print(f"\n## {model}\n\n| stage | predicted s | clock s | processor s | ratio | predicted MB | peak MB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    off = []
    for row in rows:
        times = f"{row.predicted_seconds:.1f} | {row.seconds:.1f} | {row.processor_seconds:.1f}"
        line = f"| {row.stage} | {times} | {row.predicted_seconds / row.processor_seconds:.2f} |"
        if row.peak_bytes:
            ratio = row.predicted_bytes / row.peak_bytes
            line += f" {row.predicted_bytes / 1e6:,.0f} | {row.peak_bytes / 1e6:,.0f} | {ratio:.2f} |"
            off += [row.stage] if abs(ratio - 1) > MEMORY_BUDGET else []
        else:
            line += " | | |"
        print(line, flush=True)
    print(f"\nbudgets: memory within {MEMORY_BUDGET:.0%}, time within {TIME_BUDGET:.0%}", flush=True)
    return off


if __name__ == "__main__":
    main()
