"""Mutated rows through the whole of prepare: what was promised of each holds, whatever the row is."""

import contextlib
import io
import json
from collections import Counter
from pathlib import Path

import orjson

from ollamake.data.findings import Rejected
from ollamake.data.formats.lines import Lines
from ollamake.data.records import findings_of, read_record
from stages import prepare
from tests.faults.mutation import Mutator, shrink

ROWS_A_BATCH = 500
# So many good rows that the splits are never empty, whatever becomes of the others.
GOOD = [b'{"instruction": "do %d", "output": "run %d"}' % (number, number) for number in range(60)]
ORDERS = ("random", "given", "length", "grouped")


def prepare_rows(seed: int, number: int, folder: Path) -> Counter[str]:
    """Prepare batch `number` of the rows of `seed`; return how many rows had which fate. Raises AssertionError."""
    rows = [Mutator(seed, number * ROWS_A_BATCH + row).row() for row in range(ROWS_A_BATCH)]
    try:
        return _hold(rows, folder, ORDERS[number % len(ORDERS)])
    except Exception as error:
        kind = type(error)

        def fails(some: list[bytes]) -> bool:
            try:
                _hold(some, folder, ORDERS[number % len(ORDERS)])
            except kind:
                return True
            return False

        found = shrink(rows, fails)
        if len(found) == 1:
            found = [shrink(found[0], lambda text: fails([text]))]
        error.add_note(f"the smallest rows that do it: {found!r:.2000}")
        raise


def _hold(rows: list[bytes], folder: Path, order: str) -> Counter[str]:
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join([*GOOD, *rows]))
    entry = {"name": "rows", "files": [str(path)], "shape": "auto", "task": "", "weight": 1.0}
    raw = folder / "data/raw/source.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps({"sources": [{**entry, "max_examples": 0, "losses": ""}]}))
    with contextlib.chdir(folder), contextlib.redirect_stderr(io.StringIO()) as said:
        prepare.main(_params(order))
    said.getvalue().encode()
    metrics = json.loads((folder / "metrics/prepare.json").read_text())
    kept = [line for split in ("train", "val", "test", "probe") for line in _lines(folder, split)]
    _add_up(metrics, len(kept), path)
    _usable(kept)
    return Counter({"kept": len(kept), "duplicates": metrics["duplicates"]}) + Counter(metrics["rejected"])


def _params(order: str) -> prepare.Params:
    return prepare.Params(
        max_examples=0,
        max_rejected_fraction=1.0,
        near_duplicate_threshold=0.8,
        probe_fraction=0.1,
        row_shape="auto",
        split_seed=1,
        test_fraction=0.2,
        train_order=order,
        val_fraction=0.2,
    )


def _lines(folder: Path, split: str) -> list[bytes]:
    return (folder / f"data/prepared/{split}.jsonl").read_bytes().splitlines(keepends=True)


def _add_up(metrics: dict, kept: int, path: Path) -> None:
    """Every line is counted once, and `data check` says of it what prepare did."""
    lines = [line for line in path.read_bytes().split(b"\n") if line and not line.isspace()]
    assert metrics["rows"] == len(lines)
    rejected = sum(metrics["rejected"].values())
    found = list(findings_of(path, "auto"))
    assert sum(finding.verdict == "rejected" for finding in found) == rejected
    for finding in found:
        f"{finding.place} {finding.reason} {finding.detail} {finding.excerpt}".encode()
    left_out = metrics["duplicates"] + metrics["near_duplicates"]["dropped"] + sum(metrics["left_out"].values())
    expected = metrics["rows"] - rejected - left_out + metrics["copies"]
    assert kept == sum(metrics["kept"].values()) == expected, f"{kept} rows are written, {expected} expected: {metrics}"


def _usable(kept: list[bytes]) -> None:
    """What was written is what a later stage may take for granted, and is taken as it is when it is read again."""
    ids: dict[str, bytes] = {}
    for line in kept:
        row = orjson.loads(line)  # strict: UTF-8, no half of a surrogate pair
        assert ids.setdefault(row["id"], line) == line, "two rows with one id"
        ((_, again),) = Lines(1, line.rstrip(b"\n")).rows()
        assert not isinstance(again, Rejected)
        assert "\0" not in str(again)
        given = {key: value for key, value in again.items() if key not in ("rejected", "desirable")}
        record = read_record(given, "auto")
        assert not record.repairs
        assert record.content == row.get("text", row.get("messages"))
