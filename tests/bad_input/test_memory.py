"""What the whole of prepare takes for inputs that are made to fill the memory (R5, 12 and 41).

That is at most twice the largest row, 16 MB, more than it takes for a good file: pieces of 4 MB for every core, and
some bytes for each row.
"""

import gzip
import json
import subprocess
import sys

import pytest

from ollamake.data.formats.file import GREATEST_RATIO
from tests.bad_input.corpus import LINES
from tests.bad_input.verdicts import DROPPED, REFUSED
from tests.reading import LARGEST_ROWS, ROOT

# Not getrusage: a process starts with the peak of the one that it was forked from.
MEASURE = """
import json, sys
from pathlib import Path
from ollamake.errors import DataError
from stages import prepare
from tests.bad_input.test_content import PARAMS

def peak_bytes():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def rejected(name):
    entry = {"name": "rows", "files": [name], "shape": "auto", "task": "", "weight": 1.0}
    entry |= {"max_examples": 0, "losses": ""}
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/raw/source.json").write_text(json.dumps({"sources": [entry]}))
    try:
        prepare.main(PARAMS)
    except DataError as error:
        return error.problem
    return json.loads(Path("metrics/prepare.json").read_text())["rejected"]

rejected("good.jsonl")
before = peak_bytes()
found = rejected(sys.argv[1])
print(json.dumps([peak_bytes() - before, found]))
"""


BYTES_OF_A_ROW = 64  # what is remembered of each, good or bad


def prepare_apart(folder, name):
    """Return by how many bytes a file raises the peak memory of a prepare that a good file of 80 MB came before."""
    (folder / "good.jsonl").write_bytes(LINES + b'{"text": "%b"}\n' % (b"x" * 1000) * 80_000)
    command = [sys.executable, "-c", MEASURE, name]
    result = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


@pytest.mark.r5(12, DROPPED)
@pytest.mark.nightly
def test_prepare_takes_no_more_for_a_line_of_200_mb_than_for_two_rows_of_the_largest_size(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as stream:
        stream.write(LINES + b'{"text": "')
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n')
    peak, rejected = prepare_apart(tmp_path, "a.jsonl")
    print(f"{peak / 2**20:.1f} MB")
    assert rejected == {"a line of more than 16 MB": 1}
    assert peak <= LARGEST_ROWS


@pytest.mark.r5(41, REFUSED)
@pytest.mark.nightly
@pytest.mark.parametrize("line", [b'{"text": "%b"}\n' % (b"x" * 1000), b'{"text": "' + b"x" * 1000])
def test_prepare_takes_no_more_for_a_bomb_of_10_gb_than_for_two_rows_of_the_largest_size(tmp_path, line):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line * 16_000) * 600)
    peak, problem = prepare_apart(tmp_path, "a.jsonl.gz")
    print(f"{peak / 2**20:.1f} MB")
    assert problem == "unpacks to more than 100 times its size, as no real text does"
    rows = GREATEST_RATIO * (tmp_path / "a.jsonl.gz").stat().st_size // len(line) if line.endswith(b"\n") else 0
    assert peak <= LARGEST_ROWS + rows * BYTES_OF_A_ROW
