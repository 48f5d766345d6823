"""Files as tokenize leaves them, for the tests of what reads them."""

from pathlib import Path
from typing import Any

import pyarrow as pa

NUMBERS = pa.list_(pa.int32())
TOKENS = pa.schema(
    {
        "id": pa.string(),
        "input_ids": NUMBERS,
        "labels": NUMBERS,
        "prompt_length": pa.int32(),
        "prompt": pa.string(),
        "reference": pa.string(),
        "task": pa.string(),
        "rejected_ids": NUMBERS,
        "desirable": pa.bool_(),
    }
)
BATCH_ROWS = 3  # so that even a small file holds several record batches


def write_tokens(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = TOKENS) -> Path:
    """Write tokenized rows; what a row does not say is empty."""
    empty = {"id": "", "prompt_length": 1, "prompt": "", "reference": "", "task": ""}
    return _write(path, [{**empty, **row} for row in rows], schema)


def write_packs(path: Path, packs: list[list[int]]) -> Path:
    """Write which rows each packed row holds."""
    return _write(path, [{"rows": rows} for rows in packs], pa.schema({"rows": NUMBERS}))


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), max_chunksize=BATCH_ROWS)
    return path
