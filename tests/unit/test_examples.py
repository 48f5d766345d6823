"""Training reads its rows from the file: what it takes does not grow with them."""

import subprocess
import sys

import pyarrow as pa

from tests.arrow import TOKENS, write_packs

TOKENS_A_ROW = 100
READING = """
import sys
from pathlib import Path
from ollamake.training.examples import training_examples

def own_kilobytes():  # without the pages of mapped files, which the system takes back when it likes
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

before = own_kilobytes()
examples = training_examples(Path(sys.argv[1]), Path(sys.argv[2]), "random", 8, 1)
read = sum(len(example[0].input_ids) for example in examples)
print(read, own_kilobytes() - before)
"""


def test_memory_stays_the_same_however_many_rows_an_epoch_reads(tmp_path):
    packs = write_packs(tmp_path / "packs.arrow", [])
    few, many = 5_000, 200_000
    grown = {rows: grown_by_reading(write_rows(tmp_path / f"{rows}.arrow", rows), packs, rows) for rows in (few, many)}
    assert grown[many] - grown[few] < 16_000, grown  # kB; the rows are 240 MB


def write_rows(path, rows):
    ids = pa.array([range(TOKENS_A_ROW)] * 1000, pa.list_(pa.int32()))
    columns = [ids if pa.types.is_list(field.type) else pa.nulls(1000, field.type) for field in TOKENS]
    with pa.ipc.new_file(str(path), TOKENS) as writer:
        for _ in range(rows // 1000):
            writer.write_batch(pa.record_batch(columns, schema=TOKENS))
    return path


def grown_by_reading(path, packs, rows):
    """Return by how many kB a process grows that goes through an epoch."""
    command = [sys.executable, "-c", READING, str(path), str(packs)]
    read, grown = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert read == rows * TOKENS_A_ROW
    return grown
