"""Compare evaluate's batched answers with a `generate` loop, one prompt after the other: speed, and the same answers.

    python -m benchmarks.answers                      # the tuned model's answers to the scored items, 3 rounds
    python -m benchmarks.answers --items 24 --rounds 1
    python -m benchmarks.answers --tuned ''           # the base model

Each run is a process of its own, the sides in turn; clocks start when model and prompts are loaded. The loop calls
transformers' `generate` on the model as it was loaded: in fp32, in which evaluate answers on a CPU, and in bfloat16.
`same` counts the answers that equal those of the loop in fp32, word for word and in length. `a core` is items over
processor time, which says more on a machine that others share.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.launch import launch, telling_failures
from benchmarks.workspace import ROOT, read_params

LOOP, LOOP_BF16, OURS = "loop, fp32", "loop, bf16", "evaluate"
SIDES = (LOOP, LOOP_BF16, OURS)
CLOCKS = ("seconds", "processor_seconds")


def answer(side: str, wanted: argparse.Namespace) -> dict[str, Any]:
    """Answer the items in this process; return the seconds, those of all cores, and the answers."""
    from tokenizers import Tokenizer

    from ollamake.base import open_base
    from ollamake.scoring.answers import Greedy
    from ollamake.scoring.items import read_items
    from ollamake.scoring.model import computing, load_model
    from ollamake.scoring.tuned import load_tuned

    params, base = read_params(), open_base(ROOT / "models/base.json")
    items = read_items(ROOT / "data/tokenized/test.arrow", wanted.items)
    tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    model = load_tuned(base, Path(wanted.tuned), "auto") if wanted.tuned else load_model(base.folder, "auto")
    greedy = Greedy(base.end_ids, params["eval_max_new_tokens"], params["eval_batch_size"])
    with computing(model, "fp32" if side == LOOP else "bf16" if side == LOOP_BF16 else params["precision"]):
        started, used = time.monotonic(), time.process_time()
        if side == OURS:
            answers = [asdict(one) for one in greedy.answer(model, tokenizer, items, lambda _: None)]
        else:
            answers = [alone(model, tokenizer, item.prompt_ids, greedy) for item in items]
        seconds, processor = time.monotonic() - started, time.process_time() - used
    return {"seconds": seconds, "processor_seconds": processor, "answers": answers}


def alone(model: Any, tokenizer: Any, prompt: list[int], greedy: Any) -> dict[str, Any]:
    """Return the answer to one prompt, as anyone would ask for it."""
    import torch
    from transformers import GenerationConfig

    ends = sorted(greedy.end_ids)
    model.generation_config = GenerationConfig(
        max_new_tokens=greedy.max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=ends[0]
    )
    ids = torch.tensor([prompt], device=model.device)
    said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))[0, len(prompt) :].tolist()
    stopped = said[-1] in greedy.end_ids
    text = tokenizer.decode(said[:-1] if stopped else said, skip_special_tokens=True)
    return {"text": text, "stopped": stopped, "new_tokens": len(said)}


def measure(wanted: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of each side, taken in turn, with the peak memory of each."""
    environment = {**os.environ, "GOMP_SPINCOUNT": "20000", "HF_HUB_OFFLINE": "1"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(wanted.threads))
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in wanted.sides}
    command = [sys.executable, "-m", "benchmarks.answers", "--items", str(wanted.items), "--tuned", wanted.tuned]
    for _ in range(wanted.rounds):
        for side, found in runs.items():
            done = launch([*command, "--side", side], ROOT, environment)
            found.append({**json.loads(done.output.splitlines()[-1]), "peak_bytes": done.peak_bytes})
            print(f"{side}: {found[-1]['seconds']:.1f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return runs


def show(runs: dict[str, list[dict[str, Any]]], wanted: argparse.Namespace) -> None:
    """Print the medians over the rounds, and what ours is against each."""
    count = len(next(iter(runs.values()))[0]["answers"])
    table = Table(title=f"{count} items, {wanted.rounds} rounds, {wanted.threads} threads", title_justify="left")
    for head in ("side", "items/s", "a core", "tokens", "same", "peak MB", "ours is", "a core"):
        table.add_column(head, justify="left" if head == "side" else "right")
    rates = {side: [median_rate(found, count, key) for key in CLOCKS] for side, found in runs.items()}
    judged = runs.get(LOOP, [])
    for side, found in runs.items():
        tokens = sum(one["new_tokens"] for one in found[0]["answers"])
        same = [sum(map(dict.__eq__, run["answers"], other["answers"])) for run in found for other in judged]
        peak = max(run["peak_bytes"] for run in found) / 1e6
        speed = [f"{rate:.2f}" for rate in rates[side]]
        ratios = [f"{ours / rate:.2f} ×" for ours, rate in zip(rates.get(OURS, rates[side]), rates[side], strict=True)]
        table.add_row(side, *speed, f"{tokens:,}", str(min(same, default="")), f"{peak:,.0f}", *ratios)
    Console(width=120).print(table)


def median_rate(runs: list[dict[str, Any]], items: int, clock: str) -> float:
    """Return the items a second of one of the clocks."""
    return float(items / statistics.median(run[clock] for run in runs))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=read_params()["eval_max_examples"], help="0 = all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--tuned", default=str(ROOT / "models/tuned"), help="its folder; '' for the base model")
    parser.add_argument("--side", choices=SIDES, help="for its own use: one run of one side")
    return parser.parse_args(arguments)


def main() -> None:
    wanted = parse(sys.argv[1:])
    if wanted.side:
        print(json.dumps(answer(wanted.side, wanted)))
    else:
        show(measure(wanted), wanted)


if __name__ == "__main__":
    with telling_failures():
        main()
