"""Whatever a stranger wrote: no traceback, no hang, nothing half-written. `python -m tests.fuzz` does the work.

`make test-all` gives prepare 200,000 mutated rows, others every night, and the other targets a share of that.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stages import prepare
from tests.counts import dice
from tests.faults.mutation import Mutator, shrink
from tests.fuzz.rows import GOOD, ROWS_A_BATCH, _hold

pytestmark = pytest.mark.row("R5")
ROOT = Path(__file__).parents[2]
EVERY_DAY, ROWS = 2_000, 200_000
# How many inputs of a target there are for a row of prepare's, by what one of them costs.
SHARES = {"prepare": 1 / ROWS_A_BATCH, "files": 0.1, "models": 0.1, "chats": 0.1, "sources": 0.02, "params": 0.002}
# For each target two fates that are met: most of what is good stays good, most of what is bad is told.
MET = {
    "prepare": ("kept", "not valid UTF-8"),
    "files": ("a.jsonl: read in part", "a.parquet: refused"),
    "models": ("configuration: refused", "container: read"),
    "chats": ("a row", "left out: control token in the text"),
    "sources": ("read", "refused"),
    "params": ("refused",),
}


def fuzz(target: str, seed: int, count: int, folder: Path) -> Counter[str]:
    """Return how many inputs had which fate. A process of its own does it, for some bugs end the process."""
    at = folder / "at"
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz", target, str(seed), "0", str(count)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OLLAMAKE_FUZZ_AT": str(at)}, capture_output=True, text=True
    )
    if done.returncode:
        number = at.read_text() if at.is_file() else "before any"
        pytest.fail(f"{target}, seed {seed}, input {number}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return Counter(json.loads(done.stdout))


@pytest.mark.parametrize("target", SHARES)
def test_strange_inputs_are_read_or_refused_with_a_clear_message(target, tmp_path):
    fates = fuzz(target, 1, max(20, int(EVERY_DAY * SHARES[target])), tmp_path)
    assert [fate for fate in MET[target] if not fates[fate]] == []


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("target", SHARES)
def test_200_000_strange_inputs_are_read_or_refused_with_a_clear_message(target, tmp_path):
    count = max(20, int(ROWS * SHARES[target]))
    fates = fuzz(target, dice(target).randrange(1 << 30), count, tmp_path)
    print(f"{target}: {sum(fates.values()):,} fates of {count:,} inputs: {dict(fates.most_common(9))}")
    assert [fate for fate in MET[target] if not fates[fate]] == []


def test_a_row_that_prepare_loses_is_noticed_although_rows_have_weights(tmp_path, monkeypatch):
    weights = [weight for weight in (3, 0.5) for _ in range(20)]
    rows = [b'{"text": "said %d", "weight": %s}' % (at, str(weight).encode()) for at, weight in enumerate(weights)]
    assert _hold(rows, tmp_path, "given")["kept"] > len(GOOD) + len(rows)  # some twice and more, others not at all
    prepare_all = prepare.main

    def lose_one(params):
        prepare_all(params)
        train = Path("data/prepared/train.jsonl")
        train.write_bytes(b"".join(train.read_bytes().splitlines(keepends=True)[:-1]))

    monkeypatch.setattr(prepare, "main", lose_one)
    with pytest.raises(AssertionError, match=r"\d+ rows are written, \d+ expected"):
        _hold(rows, tmp_path, "given")


def test_the_same_seed_and_number_give_the_same_rows():
    rows = [Mutator(3, number).row() for number in range(200)]
    assert rows == [Mutator(3, number).row() for number in range(200)]
    assert len(set(rows)) > 190
    assert rows != [Mutator(4, number).row() for number in range(200)]


def test_a_failing_input_is_made_as_small_as_it_can_be():
    assert shrink(b"a long row with an x and a y in it", lambda text: b"x" in text and b"y" in text) == b"xy"
    assert shrink(list(range(100)), lambda rows: 17 in rows) == [17]


def test_a_target_that_raises_hangs_or_ends_the_process_is_told_with_its_input(tmp_path, monkeypatch):
    broken = """
import os, tests.fuzz.targets as t, tests.fuzz.__main__ as m
def broken(folder):
    def give(seed, number):
        if number == 3: {}
        return t.Counter(["read"])
    return give
t.TARGETS["broken"], m.SECONDS, m.BLOCKED_SECONDS = broken, 1, 5
m.main("broken", 1, 0, 5)
"""
    for fault in ("raise ValueError('mine')", "os.abort()", "sum(range(10**12))", "os.read(os.pipe()[0], 1)"):
        at = tmp_path / "at"
        done = subprocess.run(
            [sys.executable, "-c", broken.format(fault)], cwd=ROOT, env={**os.environ, "OLLAMAKE_FUZZ_AT": str(at)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode != 0
        assert at.read_text() == "3"
    assert "again: python -m tests.fuzz broken 1 3 1" in subprocess.run(
        [sys.executable, "-c", broken.format("raise ValueError")], cwd=ROOT, capture_output=True, text=True
    ).stderr  # fmt: skip
