"""Tokenized splits as Arrow files that later stages map into memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from ollamake.tokens.packing import Packs, pack

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "prompt_length": pa.int32(),
        "prompt": pa.string(),
        "reference": pa.string(),
        "task": pa.string(),
        # Of judged answers, null elsewhere: the worse one to the same prompt, or whether the thumb is up.
        "rejected_ids": pa.list_(pa.int32()),
        "desirable": pa.bool_(),
    }
)
PACKS_SCHEMA = pa.schema({"rows": pa.list_(pa.int32())})
NO_PACKS = Packs(np.zeros(0, np.int32), np.zeros(1, np.int32))


@contextmanager
def writer(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchFileWriter]:
    """Yield a writer of batches, which go to the file as they come."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as batches:
        yield batches


def write_packs(folder: Path, capacity: int) -> int:
    """Write packs.arrow beside train.arrow, with packs of at most `capacity` tokens; return how many, none for 0."""
    packs = pack(row_lengths(folder / "train.arrow"), capacity) if capacity else NO_PACKS
    rows = pa.ListArray.from_arrays(pa.array(packs.offsets, pa.int32()), pa.array(packs.rows, pa.int32()))
    with writer(folder / "packs.arrow", PACKS_SCHEMA) as batches:
        batches.write_batch(pa.record_batch([rows], schema=PACKS_SCHEMA))
    return len(packs)


def row_lengths(path: Path) -> np.ndarray:
    """Return the number of tokens of every row of a split, in its order, as int32."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        batches = (reader.get_batch(index).column("input_ids") for index in range(reader.num_record_batches))
        return np.concatenate([np.diff(ids.offsets.to_numpy()) for ids in batches])
