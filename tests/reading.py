"""What the readers make of a file, in a form that tests can compare; and how much memory they took for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from ollamake.data.findings import Rejected
from ollamake.data.formats.reading import chunks
from ollamake.errors import DataError

PAIR = {"instruction": "ask", "output": "say"}
ROOT = Path(__file__).parents[1]
LARGEST_ROWS = 2 * (16 << 20)
# Not getrusage: a process starts with the peak of the one that it was forked from.
MEASURE = """
import sys
from pathlib import Path
from ollamake.data.findings import Rejected
from ollamake.data.formats.reading import chunks
from ollamake.errors import DataError

def peak_bytes():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before, verdicts = peak_bytes(), []
try:
    for chunk in chunks(Path(sys.argv[1])):
        verdicts += [row.reason if isinstance(row, Rejected) else "a row" for _, row in chunk.rows()]
except DataError as error:
    verdicts = [error.problem]
print(peak_bytes() - before, *verdicts[:9], sep="\\n")
"""


def rows_of(path: Path, **how) -> list[tuple[int, object]]:
    """Each row with its number: the row itself, or the reason why it is none."""
    return [
        (number, row.reason if isinstance(row, Rejected) else row)
        for chunk in chunks(path, **how)
        for number, row in chunk.rows()
    ]


def refusal(path: Path, **how) -> DataError:
    """The error with which the file is refused, which names it and a way on."""
    with pytest.raises(DataError) as error:
        rows_of(path, **how)
    assert str(path) in error.value.where
    assert error.value.hint
    return error.value


def read_apart(path: Path) -> tuple[int, list[str]]:
    """Read the file in a process of its own: by how many bytes that raised its peak memory, and the first verdicts."""
    result = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True, cwd=ROOT)
    peak, *verdicts = result.stdout.splitlines()
    return int(peak), verdicts
