"""Compare tokenize with `datasets.map` over Python's `apply_chat_template`: speed, memory, and the same token ids.

    python -m benchmarks.tokens                 # 20 k and 100 k rows, three rounds each, interleaved
    python -m benchmarks.tokens --rows 20000    # one size

(By its path it would hide Python's own `tokenize`.) Both read the same JSONL and write Arrow; ours masks what carries
no loss and checks every row, the peer does neither. Clocks start after the imports; the peer runs in one process, as
`map` does by itself, and in one for each core. Best of three; processor time tells more on a machine that others share.
The base model is the one that `models/base.json` pins, the rows are those of data/prepared, each in other words.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.launch import launch, telling_failures

ROOT = Path(__file__).parents[1]
SIZES, ROUNDS, MAX_LENGTH = (20_000, 100_000), 3, 512
OURS, PEER, PEER_EACH_CORE = "ollamake", "datasets.map", "datasets.map, a process a core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--side", nargs=2, metavar=("NAME", "FOLDER"), help="for its own use: one run of one side")
    options = parser.parse_args()
    if options.side:
        name, folder = options.side
        print(json.dumps(tokenize(Path(folder)) if name == OURS else tokenize_as_peer(Path(folder), name)))
        return
    table = Table("rows", "side", "rows/s", "time / ours", "processor time / ours", "peak memory of the tree")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            compare(rows, Path(folder), table)
    Console().print(table)


def compare(rows: int, folder: Path, table: Table) -> None:
    write_rows(folder / "train.jsonl", rows)
    runs: dict[str, list[tuple[float, float]]] = {OURS: [], PEER: [], PEER_EACH_CORE: []}
    peaks: dict[str, float] = dict.fromkeys(runs, 0.0)
    for _ in range(ROUNDS):
        for side, times in runs.items():
            done = launch([sys.executable, "-m", "benchmarks.tokens", "--side", side, str(folder)], ROOT)
            times.append(json.loads(done.output.splitlines()[-1]))
            peaks[side] = max(peaks[side], done.peak_bytes)
    require_same_ids(folder)
    best = {side: [min(column) for column in zip(*times, strict=True)] for side, times in runs.items()}
    for side, figures in best.items():
        ratios = [f"{figure / own:.2f} ×" for figure, own in zip(figures, best[OURS], strict=True)]
        table.add_row(f"{rows:,}", side, f"{rows / figures[0]:,.0f}", *ratios, f"{peaks[side] / 1e6:,.0f} MB")


def clocks() -> tuple[float, float]:
    """Return the time now, and the processor time of this process and its ended children, in seconds."""
    used = os.times()
    return time.monotonic(), used.user + used.system + used.children_user + used.children_system


def since(started: tuple[float, float]) -> tuple[float, float]:
    now = clocks()
    return now[0] - started[0], now[1] - started[1]


def write_rows(path: Path, count: int) -> None:
    """Write the prepared conversations again and again, each time with another number in question and answer."""
    with (ROOT / "data/prepared/train.jsonl").open("rb") as stream:
        records = [orjson.loads(line) for line in stream]
    with path.open("wb") as stream:
        for number in range(count):
            round_, place = divmod(number, len(records))
            question, answer = records[place]["messages"][-2:]
            asked = {"role": "user", "content": f"{question['content']} (case {round_})"}
            answered = {"role": "assistant", "content": f"{answer['content']} # {round_}"}
            stream.write(orjson.dumps({"id": f"{number:08x}", "messages": [asked, answered]}) + b"\n")


def tokenize(folder: Path) -> tuple[float, float]:
    from ollamake.base import open_base
    from ollamake.parallel import in_order
    from ollamake.tokens import tables
    from ollamake.tokens.blocks import Tokenize, blocks

    base = open_base(ROOT / "models/base.json")
    started = clocks()
    work = Tokenize(base, "", MAX_LENGTH, "drop")
    with tables.writer(folder / "ours.arrow", tables.SCHEMA) as arrow:
        for batch in in_order(work, blocks("train", folder / "train.jsonl")):
            arrow.write_batch(batch.rows)
    return since(started)


def tokenize_as_peer(folder: Path, name: str) -> tuple[float, float]:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    from ollamake.base import open_base

    tokenizer = AutoTokenizer.from_pretrained(open_base(ROOT / "models/base.json").folder)
    started = clocks()
    path, cache = str(folder / "train.jsonl"), tempfile.mkdtemp(dir=folder)
    rows = load_dataset("json", data_files=path, split="train", cache_dir=cache)
    rows = rows.map(
        lambda row: {"input_ids": tokenizer.apply_chat_template(row["messages"])["input_ids"]},
        num_proc=len(os.sched_getaffinity(0)) if name == PEER_EACH_CORE else None,
    )
    seconds = since(started)
    rows.select_columns(["id", "input_ids"]).to_parquet(folder / "peer.parquet")
    return seconds


def require_same_ids(folder: Path) -> None:
    """Exit unless every row that ours kept has the ids that the peer gave it, and ours left only control tokens out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.memory_map(str(folder / "ours.arrow")) as source:
        ours = pa.ipc.open_file(source).read_all().select(["id", "input_ids"])
        peer = dict(zip(*pq.read_table(folder / "peer.parquet").to_pydict().values(), strict=True))
        rows = dict(zip(*ours.to_pydict().values(), strict=True))
    differ = [name for name, ids in rows.items() if ids != peer[name]]
    if differ or len(rows) < 0.98 * len(peer):
        sys.exit(f"{len(differ)} of {len(rows)} rows differ, {len(peer)} rows read")


if __name__ == "__main__":
    with telling_failures():
        main()
