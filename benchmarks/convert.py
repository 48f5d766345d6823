"""What converting costs: time and memory of convert beside those of llama.cpp's converter alone, on the same model.

python -m benchmarks.convert [--size default] [--rounds 3]      # or --size 1B: random weights in bfloat16, made here

Per round, one after the other, so that a busy machine is unfair to neither: the converter alone writes F16 from a
merged folder; merging and writing F16 as the stage does it; the proof of that file. Time counts the first two, as the
converter proves nothing; memory is the most of the process tree at once, beside the bytes of the merged weights. What
the libraries hold before any weight is there stands beside it: of a small model it is most.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.launch import SAMPLE_SECONDS, end_when_told, launch, telling_failures
from benchmarks.models import write_model
from ollamake.base import RECORD, Base, open_base
from ollamake.files import read_json

ROOT = Path(__file__).parents[1]
TIME_BUDGET, MEMORY_BUDGET = 1.2, 1.3
RANK = 16
PROMPTS, NEW_TOKENS = 8, 16
# In their order: the task, and what the table calls it.
MEASURED = {
    "empty": ("libraries", "torch, transformers and PEFT, imported"),
    "alone": ("converter", "converter alone"),
    "ours": ("convert", "merge and convert"),
    "proof": ("prove", "proof"),
}


def main() -> None:
    """Measure, print a table, and exit with 1 beyond a budget."""
    end_when_told()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", default="default", help="default: the build's own model; else one of benchmarks.models"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # as the stage does
        TASKS[given.task](given.folder, *([given.size] if given.task == "model" else []))
        return
    with telling_failures(), tempfile.TemporaryDirectory(prefix="ollamake-convert-") as folder:
        made_ready(given.size, Path(folder))
        sys.exit(report(given.size, [measured(Path(folder)) for _ in range(given.rounds)]))


def made_ready(size: str, folder: Path) -> None:
    """Put the base model, an adapter and the folder that the converter alone reads into `folder`."""
    if size == "default":
        base = open_base(RECORD)
        (folder / "base").symlink_to(base.folder.resolve())
        (folder / "tuned").symlink_to(Path("models/tuned").resolve())
        record = base.record
    else:
        run("model", folder, size)
        record = {"name": size, "architecture": "LlamaForCausalLM"}
    (folder / "record.json").write_text(json.dumps(record))
    run("merge", folder)


def run(task: str, folder: Path, size: str = "default") -> Any:
    """Run one task of this file in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.convert", "--task", task, "--folder", str(folder), "--size", size]
    return launch(command, ROOT)


def measured(folder: Path) -> dict[str, float]:
    """Return seconds, CPU seconds and peak bytes of one round."""
    weights = sum(file.stat().st_size for file in (folder / "merged").glob("*.safetensors"))
    figures = {"merged_bytes": float(weights)}
    for name, (task, _) in MEASURED.items():
        before = children_cpu_seconds()
        done = run(task, folder)
        figures |= {f"{name}_seconds": done.seconds, f"{name}_bytes": done.peak_bytes}
        figures[f"{name}_cpu"] = children_cpu_seconds() - before
    return figures


def children_cpu_seconds() -> float:
    """Return the time that processors have spent on the processes started here, theirs included, that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def report(size: str, rounds: list[dict[str, float]]) -> int:
    """Print the medians and the ratios; return 1 where a budget is exceeded."""
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    merged = middle["merged_bytes"]
    print(f"{size}: merged weights {merged / 1e6:,.0f} MB, medians of {len(rounds)} rounds\n")
    print("| | seconds | CPU seconds | peak MB | of the merged weights |\n| --- | --- | --- | --- | --- |")
    for name, (_, title) in MEASURED.items():
        seconds, cpu, peak = (middle[f"{name}_{what}"] for what in ("seconds", "cpu", "bytes"))
        print(f"| {title} | {seconds:.1f} | {cpu:.1f} | {peak / 1e6:,.0f} | {peak / merged:.2f} |")
    ratio, cpu = (
        statistics.median(one[f"ours_{of}"] / one[f"alone_{of}"] for one in rounds) for of in ("seconds", "cpu")
    )
    memory = max(middle["ours_bytes"], middle["proof_bytes"]) / merged
    print(f"\ntime {ratio:.2f} × the converter's, in CPU seconds {cpu:.2f} × (at most {TIME_BUDGET})")
    print(f"memory {memory:.2f} × the merged weights (at most {MEMORY_BUDGET})")
    return int(ratio > TIME_BUDGET or memory > MEMORY_BUDGET)


def base_of(folder: Path) -> Base:
    """Return the base model of the benchmark."""
    return Base(folder / "base", read_json(folder / "record.json"))


def cleared(folder: Path) -> Path:
    """Return an empty folder for what a task writes."""
    shutil.rmtree(folder / "mine", ignore_errors=True)
    (folder / "mine").mkdir()
    return folder / "mine"


def task_libraries(_: Path) -> None:
    """Hold nothing but the libraries, until that has been seen."""
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    time.sleep(5 * SAMPLE_SECONDS)
    print(PeftModel, LlamaForCausalLM)


def task_merge(folder: Path) -> None:
    """Write the folder that the converter alone reads."""
    write_merged(base_of(folder), folder / "tuned", folder / "merged")


def write_merged(base: Base, tuned: Path, into: Path) -> None:
    """Write the trained model into the new folder `into`: all weights merged, in the files that they come from."""
    from safetensors.torch import save_file

    from ollamake.gguf.merge import TrainedWeights
    from ollamake.gguf.shards import read_shard
    from ollamake.gguf.write import lay_out

    lay_out(base, into, bos=False)
    weights = TrainedWeights(base.folder, tuned)
    for file in weights.folder.glob("*.safetensors"):
        merged = {name: weights.read(name) for name in read_shard(file)}
        save_file(merged, into / file.name, metadata={"format": "pt"})


def task_converter(folder: Path) -> None:
    """Write F16 from the merged folder."""
    from ollamake.gguf.tool import run_module
    from ollamake.gguf.write import SCRIPT, converter_environment

    arguments: list[str | Path] = [folder / "merged", "--outfile", cleared(folder) / "alone.gguf", "--outtype", "f16"]
    run_module(SCRIPT, arguments, tool=SCRIPT, folder=folder, environment=converter_environment(folder))


def task_convert(folder: Path) -> None:
    """Merge and write F16, as convert does."""
    from ollamake.gguf.build import build
    from ollamake.gguf.prompts import Prompts

    base, mine = base_of(folder), cleared(folder)
    build(base, folder / "tuned", Prompts.of(base), ["F16"], mine, mine)


def task_prove(folder: Path) -> None:
    """Prove the file that the last task has left, over a few prompts."""
    from ollamake.gguf import matrices
    from ollamake.gguf.agreement import measure
    from ollamake.gguf.prompts import Prompts
    from ollamake.gguf.reference import TrainedModel
    from ollamake.gguf.runtime import Runtime

    base = base_of(folder)
    prompts = Prompts.of(base)
    texts = [
        prompts.text([{"role": "user", "content": f"w{number} w7 w8 list the files"}]) for number in range(PROMPTS)
    ]
    with Runtime(folder / "mine/model-F16.gguf", 512) as runtime:
        answers = [runtime.answer(prompts.ids(text), NEW_TOKENS) for text in texts]
    trained = TrainedModel(base, folder / "tuned")
    print(measure(answers, trained.judge(answers)))
    print(*matrices.check(folder / "mine/model-F16.gguf", base.config, trained), sep="\n")


def task_model(folder: Path, size: str = "1B") -> None:
    """Write a random model in bfloat16, and a random adapter for it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    write_model(size, folder / "base")
    # llama.cpp converts tokenizers that it knows, so the default model's takes the place of the made-up one.
    for file in open_base(RECORD).folder.iterdir():
        if file.suffix in (".json", ".jinja", ".txt") and file.name not in ("config.json", "generation_config.json"):
            shutil.copyfile(file, folder / "base" / file.name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / "base"))
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=RANK, target_modules="all-linear"))
    adapter = {
        name: torch.randn(weight.shape) * 0.01 for name, weight in model.state_dict().items() if ".lora_" in name
    }
    model.save_pretrained(folder / "tuned", state_dict=adapter, save_embedding_layers=False)


TASKS: dict[str, Callable[..., None]] = {
    "model": task_model,
    "libraries": task_libraries,
    "merge": task_merge,
    "converter": task_converter,
    "convert": task_convert,
    "prove": task_prove,
}


if __name__ == "__main__":
    main()
