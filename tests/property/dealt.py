"""Rows dealt into splits by the real three passes, in a folder of their own."""

import json
import tempfile
from pathlib import Path

from ollamake.data.dealing import Rules
from ollamake.data.sorting import sort_rows
from ollamake.data.sources import Source
from ollamake.data.split import SPLITS, Fractions

EVEN = Fractions(probe=0.2, test=0.2, val=0.2)


def deal(*sources, fractions=EVEN, seed=1, near=1.0, order="random"):
    """Return the tally and the rows of each split; a source is a list of rows, or (rows, what else it says)."""
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        for number, given in enumerate(sources):
            rows, more = given if isinstance(given, tuple) else (given, {})
            file = folder / f"{number}.jsonl"
            file.write_bytes(b"".join(line if isinstance(line, bytes) else line_of(line) for line in rows) or b"\n")
            found.append(Source(str(number), (str(file),), **more))
        out = folder / "out"
        out.mkdir()
        tally = sort_rows(found, Rules(fractions, seed, near, order), out)
        assert sorted(path.name for path in out.iterdir()) == sorted(f"{split}.jsonl" for split in SPLITS)
        # Lines end at LF alone: str.splitlines would also split at U+2028.
        texts = {split: (out / f"{split}.jsonl").read_bytes().decode("utf-8") for split in SPLITS}
    return tally, {split: [json.loads(line) for line in text.split("\n")[:-1]] for split, text in texts.items()}


def line_of(row):
    return json.dumps(row).encode() + b"\n"


def homes(splits):
    return {row["id"]: name for name, rows in splits.items() for row in rows}
