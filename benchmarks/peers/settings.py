"""What each side is told: the same rows and hyperparameters, in its own words, and the environment of LLaMA-Factory."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import workspace
from benchmarks.flops import training_flops
from benchmarks.steps import Rows
from benchmarks.workspace import ROOT

CLOCK = ["-m", "benchmarks.peers.clock", "events.jsonl"]
REQUIREMENTS = ROOT / "benchmarks/peers/llamafactory.txt"
DRIVER = Path("/proc/driver/nvidia/version")
# ChatML with the line break before a message in place of after: its end is then the end of the answer.
TEMPLATE = (
    "{% for message in messages %}{{ '' if loop.first else '\\n' }}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] + '<|im_end|>' }}{% endfor %}"
    "{{ '\\n<|im_start|>assistant\\n' if add_generation_prompt else '' }}"
)


@dataclass(frozen=True)
class Plan:
    """What all sides do: rows, their conversations, epochs, hyperparameters."""

    base: Path  # with the tokenizer and chat template of the built model
    template_base: Path  # the same weights, with TEMPLATE
    record: Mapping[str, Any]
    params: Mapping[str, Any]
    table: Any
    conversations: list[list[dict[str, str]]]
    epochs: int
    python: Path | None  # of LLaMA-Factory's environment

    @classmethod
    def of(cls, scratch: Path, steps: int, epochs: int, python: Path | None) -> "Plan":
        """Read the built checkout; take as many rows as `steps` need, or all when there are `epochs`."""
        params = {**workspace.read_params(), "precision": "bf16", "max_steps": 0, "num_epochs": epochs or 1}
        table = workspace.read_table(ROOT / "data/tokenized/train.arrow")
        if not epochs:
            count = steps * params["per_device_batch_size"] * params["gradient_accumulation_steps"]
            if count > len(table):
                sys.exit(f"error: {steps} steps take {count} rows, there are {len(table)}; --epochs takes all of them")
            table = table.take(sorted(random.Random(1).sample(range(len(table)), count)))  # noqa: S311 - no secret
        record = json.loads((ROOT / "models/base.json").read_text())
        base = ROOT / ".ollamake/base" / record["key"]
        templated = _with_template(base, scratch / "base")
        return cls(base, templated, record, params, table, _conversations(table, params), epochs or 1, python)

    @cached_property
    def rows(self) -> Rows:
        """The rows to train on, to be found again in batches."""
        return Rows(workspace.pairs(self.table))

    @property
    def validation(self) -> Path:
        """The rows to score on."""
        return ROOT / "data/tokenized/val.arrow"

    def flops_per_epoch(self) -> int:
        """Return the operations that one pass over the rows takes by its formula."""
        config = json.loads((self.base / "config.json").read_text())
        counts = {"tokens": self.rows.tokens, "supervised": self.rows.supervised, "squares": self.rows.squares}
        return training_flops(config, **counts, lora_rank=self.params["lora_rank"])


def _with_template(base: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in base.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file.resolve())
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def _conversations(table: Any, params: Mapping[str, Any]) -> list[list[dict[str, str]]]:
    with (ROOT / "data/prepared/train.jsonl").open(encoding="utf-8") as stream:
        prepared = {row["id"]: row["messages"] for row in map(json.loads, stream)}
    system = [{"role": "system", "content": params["system_prompt"]}] if params["system_prompt"] else []
    found = (prepared[name] for name in table["id"].to_pylist())
    return [messages if messages[0]["role"] == "system" else [*system, *messages] for messages in found]


def ours(plan: Plan, folder: Path) -> list[str]:
    """Write the workspace of the train stage; return the command."""
    shutil.rmtree(folder)
    tables = {"train": plan.table, "val": workspace.read_table(plan.validation)}
    workspace.build_workspace(folder, plan.base, plan.record, tables, plan.params)
    return workspace.STAGE


def trl(plan: Plan, folder: Path, *, checkpointing: bool = True) -> list[str]:
    """Write the conversations and settings of the SFTTrainer script; return the command."""
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for messages in plan.conversations:
            stream.write(json.dumps({"prompt": messages[:-1], "completion": messages[-1:]}) + "\n")
    return trl_command(plan.params, plan.template_base, folder, checkpointing=checkpointing)


def trl_command(params: Mapping[str, Any], base: Path, folder: Path, *, checkpointing: bool) -> list[str]:
    """Write the settings of the SFTTrainer script for the rows in `folder`. TRL checkpoints activations by itself."""
    arguments = {
        **_arguments(params, folder),
        "logging_steps": 10,
        "max_length": params["max_length"],
        "warmup_steps": params["warmup_ratio"],  # a share, below 1
        **({} if checkpointing else {"gradient_checkpointing": False}),
    }
    lora = {"r": params["lora_rank"], "target_modules": "all-linear"}
    lora |= {name: params[name] for name in ("lora_alpha", "lora_dropout")}
    full = params.get("method") == "full"
    settings = {"base": str(base), "rows": "rows.jsonl", "arguments": arguments, "lora": {} if full else lora}
    (folder / "settings.json").write_text(json.dumps(settings))
    return [sys.executable, *CLOCK, "benchmarks.peers.trl_script", "settings.json"]


def llamafactory(plan: Plan, folder: Path, *, checkpointing: bool = True) -> list[str]:
    """Write the data set and settings of LLaMA-Factory; return the command. It checkpoints activations by itself."""
    params, names = plan.params, ("lora_rank", "lora_alpha", "lora_dropout")
    rows = {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages"}}
    rows["tags"] = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    rows["tags"] |= {"assistant_tag": "assistant", "system_tag": "system"}
    settings = {
        **_arguments(params, folder),
        **{name: params[name] for name in names},
        "model_name_or_path": str(plan.base),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "dataset": "rows",
        "dataset_dir": str(folder),
        "template": "benchmark",
        "cutoff_len": params["max_length"],
        "warmup_steps": params["warmup_ratio"],
        "bf16": True,
        "logging_steps": 10,
        "plot_loss": False,
        **({} if checkpointing else {"disable_gradient_checkpointing": True}),
    }
    (folder / "dataset_info.json").write_text(json.dumps({"rows": rows}))
    (folder / "rows.json").write_text(json.dumps([{"messages": messages} for messages in plan.conversations]))
    (folder / "settings.json").write_text(json.dumps(settings))
    return [str(plan.python), *CLOCK, "benchmarks.peers.llamafactory_script", "settings.json"]


def _arguments(params: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    same = ("learning_rate", "weight_decay", "max_grad_norm", "per_device_batch_size", "gradient_accumulation_steps")
    renamed = {"per_device_batch_size": "per_device_train_batch_size"}
    return {
        "output_dir": str(folder / "output"),
        "num_train_epochs": params["num_epochs"],
        "lr_scheduler_type": params["lr_scheduler"],
        "seed": params["train_seed"],
        "save_strategy": "no",
        "use_cpu": not DRIVER.exists(),  # transformers refuses bf16 on a CPU that was not asked for
        "report_to": "none",
        **{renamed.get(name, name): params[name] for name in same},
    }


def environment_of_llamafactory(folder: Path) -> Path:
    """Return the Python of an environment with LLaMA-Factory, which is made first where it is not there."""
    python = folder / "bin/python"
    if python.is_file():
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    torch = f"torch=={workspace.pinned('torch')}"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, torch], check=True)
        subprocess.run([*pip, "--no-deps", "--requirement", str(REQUIREMENTS)], check=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return python
