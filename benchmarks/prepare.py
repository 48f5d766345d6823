"""Measure prepare on files of growing size beside datasets: load_dataset, map to messages, train_test_split.

    python -m benchmarks.prepare 50000 500000              # rows; 5000000 takes about 15 minutes and 30 GB of disk

Ours is the whole stage: every check, duplicates, near duplicates, the splits written. The peer checks and writes
nothing, but for its own cache, which is new in every run. Both run in a process of their own, one after the other, on a
file of 2 % duplicates, 1 % near duplicates and 1 % rows that only we refuse. Memory is that of the process tree.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.launch import launch, telling_failures

ROOT = Path(__file__).parents[1]
PIECE_ROWS = 25_000
OURS_NAME = "prepare"
WORDS = 20_000
# Times the peer's own work: what it takes to import datasets is left out, as it does not grow with the rows.
PEER = """
import sys, time
from datasets import load_dataset

def conversation(row):
    question = row["instruction"].strip()
    if row["input"]:
        question += "\\n\\n" + row["input"].strip()
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"].strip()}]
    return {"messages": messages}

if __name__ == "__main__":
    start = time.monotonic()
    rows = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[3])
    processes = int(sys.argv[2])
    rows = rows.map(conversation, remove_columns=["instruction", "input", "output"],
                    num_proc=processes if processes > 1 else None)
    rows = rows.train_test_split(test_size=0.1, seed=1)
    print("seconds", time.monotonic() - start)
"""
OURS = """
import time
from stages.prepare import Params, main

if __name__ == "__main__":
    params = Params(
        max_examples=0, max_rejected_fraction=0.2, near_duplicate_threshold=0.8, probe_fraction=0.03,
        row_shape="auto", split_seed=1, test_fraction=0.1, train_order="random", val_fraction=0.1,
    )
    start = time.monotonic()
    main(params)
    print("seconds", time.monotonic() - start)
"""


@dataclass(frozen=True)
class Run:
    """One run: its own seconds, and the processor seconds and the peak memory of its process tree."""

    seconds: float
    processor_seconds: float
    peak_bytes: int

    @classmethod
    def of(cls, command: list[str], folder: Path) -> "Run":
        """Run a command that ends by printing its seconds."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = launch(command, folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cls(float(done.output.rsplit("seconds", 1)[1]), processor_seconds, done.peak_bytes)


def rows_of(piece: int, count: int) -> Iterator[dict[str, str]]:
    """Yield the rows of one piece of the file: instructions and answers of 20 to 110 made-up words."""
    dice, vocabulary = random.Random(piece), random.Random(0)  # noqa: S311 - it is no secret
    words = ["".join(vocabulary.choices("etaoinshrdlucmfwyp", k=vocabulary.randint(2, 9))) for _ in range(WORDS)]

    def text() -> str:
        return " ".join(dice.choices(words, k=dice.randint(20, 110)))

    row = {"instruction": text(), "input": "", "output": text()}
    for number in range(count):
        kind = dice.random()
        if kind < 0.02 and number:
            yield row
        elif kind < 0.03 and number:
            told_apart = row["instruction"].rsplit(" ", 1)[0] + " " + dice.choice(words)
            yield {**row, "instruction": told_apart, "output": row["output"] if kind < 0.025 else text()}
        elif kind < 0.04:
            yield {"instruction": text(), "input": "", "output": " "}
        else:
            row = {"instruction": text(), "input": "", "output": text()}
            yield row


def lines_of(piece: int, total: int) -> bytes:
    count = min(PIECE_ROWS, total - piece * PIECE_ROWS)
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows_of(piece, count))


def make(path: Path, total: int) -> None:
    """Write the file of `total` rows, the same at every call."""
    with path.open("wb") as stream, ProcessPoolExecutor() as pool:
        for lines in pool.map(partial(lines_of, total=total), range(-(-total // PIECE_ROWS))):
            stream.write(lines)


def ours(file: Path, folder: Path) -> Run:
    (folder / "data/raw").mkdir(parents=True)
    source = {"name": "rows", "files": [str(file)], "shape": "auto", "task": "", "weight": 1.0, "max_examples": 0}
    content = {"license": "", "origin": [], "sources": [{**source, "losses": ""}]}
    (folder / "data/raw/source.json").write_text(json.dumps(content))
    (folder / "ours.py").write_text(OURS)
    return Run.of([sys.executable, "ours.py"], folder)


def peer(file: Path, folder: Path, processes: int) -> Run:
    (folder / "peer.py").write_text(PEER)
    return Run.of([sys.executable, "peer.py", str(file), str(processes), str(folder / "cache")], folder)


def measure(file: Path, folder: Path, rounds: int) -> dict[str, list[Run]]:
    """Return the runs of each, taken in turn."""
    measured: dict[str, list[Run]] = {}
    kinds = {
        OURS_NAME: ours,
        "datasets, 1 process": partial(peer, processes=1),
        "datasets, 2 processes": partial(peer, processes=2),
    }
    for _ in range(rounds):
        for name, kind in kinds.items():
            here = folder / "run"
            here.mkdir()
            measured.setdefault(name, []).append(kind(file, here))
            shutil.rmtree(here)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where there is room; a temporary folder by default")
    wanted = parser.parse_args()
    os.environ.update(PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    titles = ("rows", "what", "seconds", "rows/s", "µs a row", "processor µs a row", "peak MB", "time / ours")
    table = Table(*titles, title="medians; the highest peak")
    if wanted.folder:
        wanted.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        for rows in wanted.rows:
            make(Path(folder) / "rows.jsonl", rows)
            add(table, rows, measure(Path(folder) / "rows.jsonl", Path(folder), wanted.rounds))
    Console(width=120).print(table)


def add(table: Table, rows: int, measured: dict[str, list[Run]]) -> None:
    medians = {name: statistics.median(run.seconds for run in runs) for name, runs in measured.items()}
    for name, runs in measured.items():
        seconds, processor = medians[name], statistics.median(run.processor_seconds for run in runs)
        cells = (f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{seconds / rows * 1e6:.1f}")
        peak = max(run.peak_bytes for run in runs) / 1e6
        ratio = f"{seconds / medians[OURS_NAME]:.2f} ×"
        table.add_row(f"{rows:,}", name, *cells, f"{processor / rows * 1e6:.1f}", f"{peak:,.0f}", ratio)
    table.add_section()


if __name__ == "__main__":
    with telling_failures():
        main()
