"""Measure the train stage beside a plain TRL SFTTrainer script and LLaMA-Factory: same rows, seed, batch and LoRA.

    python -m benchmarks.train                         # 60 steps, 3 rounds of each side in turn
    python -m benchmarks.train --epochs 2              # the whole run of params.yaml, all rows
    python -m benchmarks.train --sides trl ours --rounds 1 --json table.json

All sides train in bf16 on the rows of data/tokenized, those with --steps on the same sample of them, each row once: so
all see the same supervised tokens, and each run is checked for it. Chat template, masks and padding are the peers' own
work; a line break after the end of an answer, which carries no loss with us, is left out of their templates.

How it is measured: a step ends when torch's optimizer returns; speed is what the batches between two ends hold over the
time between them, summed over all but the first step and those with an evaluation before them; `a core` is that over
the processor time of all threads, for a machine that others share. First step: from the start of the process to the end
of its first optimizer step, base model and rows in the disk cache; peers tokenize in that time, our tokenize stage did
before. Peak: resident memory of the process tree, five times a second. Validation loss: every adapter scored by one
script (benchmarks/peers/score.py) on data/tokenized/val.arrow. All sides get the same number of threads and spin alike.
`of matmul` is the formula's operations (benchmarks/flops.py) over what matrix products alone reach in the same run.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import workspace
from benchmarks.launch import LaunchError, end_when_told, launch
from benchmarks.peers.settings import Plan, environment_of_llamafactory, llamafactory, ours, trl
from benchmarks.steps import Rate, read_steps, steady
from benchmarks.workspace import ROOT

OURS = "ours"
COMPARED = (
    "supervised_tokens_per_second",
    "supervised_tokens_per_processor_second",
    "tokens_per_second",
    "first_step_seconds",
    "peak_bytes",
)
VENV = ROOT / ".ollamake/bench/llamafactory-venv"
SIDES: dict[str, Callable[[Plan, Path], list[str]]] = {
    "trl": trl,
    "trl-no-checkpointing": lambda plan, folder: trl(plan, folder, checkpointing=False),
    "llamafactory": llamafactory,
    "llamafactory-no-checkpointing": lambda plan, folder: llamafactory(plan, folder, checkpointing=False),
    OURS: ours,
}


@dataclass(frozen=True)
class Run:
    """One run of one side. `supervised_tokens` is what it trained on, found again in its batches."""

    side: str
    load: float
    rate: Rate
    first_step_seconds: float
    seconds: float
    peak_bytes: int
    steps: int
    supervised_tokens: int
    adapter: str


def measure(side: str, plan: Plan, folder: Path, environment: dict[str, str]) -> Run:
    """Run one side in `folder`. Raises LaunchError when it fails, or trained on other tokens than planned."""
    folder.mkdir()
    command, load = SIDES[side](plan, folder), os.getloadavg()[0]
    done = launch(command, folder, environment)
    steps = read_steps(folder / "events.jsonl", plan.rows)
    trained = sum(step.seen.supervised for step in steps)
    # The peers count their own labels; ours reads them from the same file as this benchmark does.
    labels = plan.rows.supervised if side == OURS else own_count(done.output)
    if trained != plan.rows.supervised * plan.epochs or labels != plan.rows.supervised:
        wanted = f"{plan.rows.supervised} supervised tokens in {plan.epochs} epochs planned"
        raise LaunchError(f"{side}: {wanted}, {trained} in its batches, {labels} in its labels\n{done.output[-2000:]}")
    adapter = str(folder / (workspace.ADAPTER if side == OURS else "output"))
    first = steps[0].end - done.started
    return Run(side, load, steady(steps), first, done.seconds, done.peak_bytes, len(steps), trained, adapter)


def own_count(output: str) -> int:
    """Return the supervised tokens that a peer counted in its labels, -1 when it said nothing of them."""
    found = re.findall(r"supervised tokens (\d+)", output)
    return int(found[-1]) if found else -1


def score(plan: Plan, runs: list[Run], environment: dict[str, str]) -> list[float]:
    """Return the validation loss of each run's adapter."""
    command = [sys.executable, "-m", "benchmarks.peers.score", str(plan.base), str(plan.validation)]
    done = launch([*command, *(run.adapter for run in runs)], ROOT, environment)
    losses: list[float] = json.loads(done.output.splitlines()[-1])
    return losses


def matmul_flops(environment: dict[str, str]) -> float:
    """Return the best rate of bf16 matrix products with the threads that the sides have."""
    done = launch([sys.executable, "-m", "benchmarks.flops"], ROOT, environment)
    return float(json.loads(done.output.splitlines()[-1])["flops"])


def shared_environment(threads: int, scratch: Path) -> dict[str, str]:
    """Return the environment of every side; what a killed run leaves in temporary folders goes with `scratch`.

    GOMP_SPINCOUNT is what the train stage sets for itself; the peers get it too, so that what other processes cost
    them by spinning threads is no part of the result.
    """
    for name in ("cache", "tmp"):
        (scratch / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    own = {"GOMP_SPINCOUNT": "20000", "HF_HOME": str(scratch / "cache"), "TMPDIR": str(scratch / "tmp")}
    own |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**kept, **own, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def summarise(runs: list[Run], losses: list[float], plan: Plan, matmul: float) -> dict[str, dict[str, float]]:
    """Return the medians over the rounds of each side."""
    flops = plan.flops_per_epoch() / plan.rows.tokens
    sides = {}
    for side in dict.fromkeys(run.side for run in runs):
        own = [(run, loss) for run, loss in zip(runs, losses, strict=True) if run.side == side]
        figures = {
            "supervised_tokens_per_second": [run.rate.supervised for run, _ in own],
            "tokens_per_second": [run.rate.tokens for run, _ in own],
            "supervised_tokens_per_processor_second": [per_processor_second(run.rate) for run, _ in own],
            "filled": [run.rate.tokens / run.rate.positions for run, _ in own],
            "first_step_seconds": [run.first_step_seconds for run, _ in own],
            "peak_bytes": [run.peak_bytes for run, _ in own],
            "validation_loss": [loss for _, loss in own],
            "matmul_share": [run.rate.tokens * flops / matmul for run, _ in own],
        }
        sides[side] = {name: statistics.median(values) for name, values in figures.items()}
    return sides


def per_processor_second(rate: Rate) -> float:
    """Return the supervised tokens of a second of one core: what other processes take changes it less."""
    return rate.supervised * rate.seconds / rate.processor_seconds


def ratios(sides: dict[str, dict[str, float]], own: str = OURS) -> dict[str, dict[str, float]]:
    """Return how many times each peer's figure ours is, for what the bars of the train stage are about."""
    ours = sides.get(own)
    peers = {side: figures for side, figures in sides.items() if side != own} if ours else {}
    return {side: {name: ours[name] / figures[name] for name in COMPARED} for side, figures in peers.items() if ours}


def show(sides: dict[str, dict[str, float]], title: str) -> None:
    """Print the table of medians, and what ours is against each peer."""
    table = Table(title=title, title_justify="left")
    heads = (
        "side",
        "supervised tok/s",
        "a core",
        "tokens/s",
        "filled",
        "first step s",
        "peak MB",
        "val loss",
        "of matmul",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "side" else "right", no_wrap=True)
    for side, figures in sides.items():
        speeds = (f"{figures[name]:,.1f}" for name in COMPARED[:3])
        rest = (f"{figures['first_step_seconds']:.1f}", f"{figures['peak_bytes'] / 1e6:,.0f}")
        quality = (f"{figures['validation_loss']:.4f}", f"{figures['matmul_share']:.0%}")
        table.add_row(side, *speeds, f"{figures['filled']:.0%}", *rest, *quality)
    compared = Table("ours against", "supervised tok/s", "a core", "tokens/s", "first step", "peak")
    for side, figures in ratios(sides).items():
        compared.add_row(side, *(f"{ratio:.2f} ×" for ratio in figures.values()))
    for shown in (table, compared) if compared.rows else (table,):
        Console(width=130).print(shown)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps, on as many rows as they take")
    parser.add_argument("--epochs", type=int, default=0, help="passes over all rows, in place of --steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--venv", type=Path, default=VENV, help="LLaMA-Factory's environment, made when it is not there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every run goes, beside the medians")
    return parser.parse_args(arguments)


def main() -> None:
    wanted = parse(sys.argv[1:])
    end_when_told()
    scratch = Path(tempfile.mkdtemp(prefix="ollamake-bench-"))
    try:
        python = None
        if any(side.startswith("llamafactory") for side in wanted.sides):
            python = environment_of_llamafactory(wanted.venv.absolute())
        plan = Plan.of(scratch, wanted.steps, wanted.epochs, python)
        environment = shared_environment(wanted.threads, scratch)
        matmul, runs = matmul_flops(environment), []
        for turn in range(wanted.rounds):
            for side in wanted.sides:
                runs.append(measure(side, plan, scratch / f"{side}-{turn}", environment))
                print(
                    f"{side}: {runs[-1].rate.supervised:.1f} supervised tokens/s, load {runs[-1].load:.1f}",
                    file=sys.stderr,
                )
        losses = score(plan, runs, environment)
    except LaunchError as error:
        sys.exit(f"error: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sides = summarise(runs, losses, plan, matmul)
    counts = f"{runs[0].steps} steps, {wanted.rounds} rounds, {wanted.threads} threads"
    what = f"{counts}; bf16 matrix products alone: {matmul / 1e9:,.0f} GFLOP/s"
    show(sides, what)
    if wanted.json:
        every = [{**asdict(run), "validation_loss": loss} for run, loss in zip(runs, losses, strict=True)]
        report = {"what": what, "matmul_flops": matmul, "sides": sides, "ratios": ratios(sides), "runs": every}
        wanted.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
