"""Measure the train stage beside TRL's SFTTrainer on Llama-shaped models of random weights, and the share of the peak.

    python -m benchmarks.gpu                                       # 135M, 1B and 8B, LoRA, 40 steps, 3 rounds
    python -m benchmarks.gpu --sizes tiny --steps 8 --mean 64      # to try it out on a CPU

Needs this repository, torch, transformers, peft and trl; nothing is downloaded. Rows have log-normal lengths around
--mean tokens; both sides get the same token ids and masks, batch and LoRA settings of params.yaml, and bf16. How it is
measured: `benchmarks.train`; on a GPU each step ends when the device has. Model FLOPs utilisation is the formula's
operations (benchmarks/flops.py) over what matrix products alone reach in the same run, and over the card's data sheet.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import models, workspace
from benchmarks.flops import data_sheet_flops, training_flops
from benchmarks.launch import LaunchError, end_when_told, launch
from benchmarks.peers import settings
from benchmarks.steps import Rows, read_steps, steady
from benchmarks.train import shared_environment

SKIPPED_STEPS = 3
VALIDATION_ROWS = 8
OURS, TRL, TRL_PLAIN = "ours", "trl", "trl-no-checkpointing"
SIDES = (TRL, TRL_PLAIN, OURS)


@dataclass(frozen=True)
class Run:
    """One run; the shares are of measured matrix products and of the data sheet (0 where the card is not listed)."""

    size: str
    side: str
    tokens_per_second: float
    supervised_tokens_per_second: float
    filled: float
    first_step_seconds: float
    tree_bytes: int
    device_bytes: int
    measured_share: float = 0.0
    sheet_share: float = 0.0


@dataclass(frozen=True)
class Work:
    """What both sides train: a model folder, rows, parameters."""

    size: str
    model: Path
    rows: list[tuple[list[int], list[int]]]
    params: dict[str, Any]

    def flops_per_token(self) -> float:
        """Return the formula's operations a token, on the mean over the rows."""
        found = Rows(self.rows)
        counts = {"tokens": found.tokens, "supervised": found.supervised, "squares": found.squares}
        rank = self.params["lora_rank"] if self.params.get("method", "lora") != "full" else 0
        return training_flops(models.model_config(self.size), **counts, lora_rank=rank) / found.tokens


def ours(work: Work, folder: Path) -> list[str]:
    """Write the workspace of the train stage; return the command."""
    shutil.rmtree(folder)
    tables = {"train": models.as_table(work.rows), "val": models.as_table(work.rows[:VALIDATION_ROWS])}
    record = models.record_of(work.size, work.model)
    workspace.build_workspace(folder, work.model, record, tables, work.params)
    return workspace.STAGE


def trl(work: Work, folder: Path, *, checkpointing: bool) -> list[str]:
    """Write the rows and settings of the SFTTrainer script; return the command."""
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for ids, labels in work.rows:
            mask = [int(label != -100) for label in labels]
            stream.write(json.dumps({"input_ids": ids, "completion_mask": mask}) + "\n")
    return settings.trl_command(work.params, work.model, folder, checkpointing=checkpointing)


def measure(work: Work, side: str, folder: Path, environment: dict[str, str]) -> Run:
    """Run one side. Raises LaunchError when it fails, or does not train on every supervised token once."""
    folder.mkdir()
    command = ours(work, folder) if side == OURS else trl(work, folder, checkpointing=side == TRL)
    done, rows = launch(command, folder, environment), Rows(work.rows)
    steps = read_steps(folder / "events.jsonl", rows)
    if (trained := sum(step.seen.supervised for step in steps)) != rows.supervised:
        raise LaunchError(f"{side}: {trained} supervised tokens in its batches, {rows.supervised} planned")
    rate = steady(steps, SKIPPED_STEPS)
    figures = (rate.tokens, rate.supervised, rate.tokens / rate.positions, steps[0].end - done.started)
    return Run(work.size, side, *figures, done.peak_bytes, max(step.device_bytes for step in steps))


def measure_size(
    size: str, wanted: argparse.Namespace, scratch: Path, environment: dict[str, str], failed: list[LaunchError]
) -> Iterator[Run]:
    """Yield the runs of one size, the sides in turn; one that fails, out of memory say, goes to `failed`."""
    model = scratch / size
    launch([sys.executable, "-m", "benchmarks.models", size, str(model)], scratch, environment)
    count = wanted.steps * wanted.batch
    lengths = {"mean": wanted.mean, "longest": wanted.longest, "supervised": wanted.supervised}
    rows = models.made_up_rows(count, models.VOCABULARIES[size], **lengths)
    work = Work(size, model, rows, parameters(wanted))
    device = json.loads(
        launch([sys.executable, "-m", "benchmarks.flops"], scratch, environment).output.splitlines()[-1]
    )
    sheet, flops = data_sheet_flops(device["name"]), work.flops_per_token()
    for turn in range(wanted.rounds):
        for side in SIDES:
            folder = scratch / f"{size}-{side}-{turn}"
            try:
                run = measure(work, side, folder, environment)
            except LaunchError as error:
                failed.append(error)
                continue
            finally:
                shutil.rmtree(folder)
            speed = run.tokens_per_second * flops
            yield replace(run, measured_share=speed / device["flops"], sheet_share=speed / sheet if sheet else 0.0)
    shutil.rmtree(model)


def parameters(wanted: argparse.Namespace) -> dict[str, Any]:
    """Return params.yaml with one epoch in bf16, and the method that was asked for."""
    params = workspace.read_params()
    if wanted.method == "full" and "method" not in params:
        sys.exit("error: this checkout has no parameter `method`; it trains LoRA alone")
    changes = {"method": wanted.method} if "method" in params else {}
    batch = {"per_device_batch_size": wanted.batch, "gradient_accumulation_steps": 1, "max_length": wanted.longest}
    return {**params, **changes, **batch, "precision": "bf16", "max_steps": 0, "num_epochs": 1}


def show(runs: list[Run]) -> None:
    """Print the medians over the rounds of each size and side."""
    table = Table("size", "side", "tokens/s", "supervised tok/s", "filled", "first step s", "peak MB", "device MB")
    table.add_column("MFU of matmul")
    table.add_column("MFU of data sheet")
    for size, side in dict.fromkeys((run.size, run.side) for run in runs):
        own = [asdict(run) for run in runs if (run.size, run.side) == (size, side)]
        middle = {name: statistics.median(run[name] for run in own) for name in own[0] if name not in ("size", "side")}
        speeds = (f"{middle['tokens_per_second']:,.0f}", f"{middle['supervised_tokens_per_second']:,.0f}")
        rest = (f"{middle['filled']:.0%}", f"{middle['first_step_seconds']:.1f}")
        memory = (f"{middle['tree_bytes'] / 1e6:,.0f}", f"{middle['device_bytes'] / 1e6:,.0f}")
        sheet = f"{middle['sheet_share']:.1%}" if middle["sheet_share"] else "not listed"
        table.add_row(size, side, *speeds, *rest, *memory, f"{middle['measured_share']:.1%}", sheet)
    Console(width=150).print(table)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=models.SIZES, default=["135M", "1B", "8B"])
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--mean", type=int, default=512, help="tokens of a row, on the mean")
    parser.add_argument("--longest", type=int, default=2048, help="tokens of the longest row")
    parser.add_argument("--supervised", type=float, default=0.5, help="share of a row's tokens that carries loss")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where there is room for the models; a temporary folder by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every run goes")
    return parser.parse_args(arguments)


def main() -> None:
    wanted = parse(sys.argv[1:])
    end_when_told()
    scratch = Path(tempfile.mkdtemp(prefix="ollamake-bench-", dir=wanted.folder))
    runs: list[Run] = []
    failed: list[LaunchError] = []
    try:
        environment = shared_environment(wanted.threads, scratch)
        for size in wanted.sizes:
            for run in measure_size(size, wanted, scratch, environment, failed):
                print(f"{run.size} {run.side}: {run.tokens_per_second:,.0f} tokens/s", file=sys.stderr)
                runs.append(run)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show(runs)
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n")
    if failed:
        sys.exit("\n".join(f"error: {error}" for error in failed))


if __name__ == "__main__":
    main()
