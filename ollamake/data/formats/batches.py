"""The record batches of a Parquet or Arrow file, each read when it is its turn, so that one is in memory at a time."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ollamake.data.formats.file import refuse_bomb
from ollamake.data.formats.footer import row_groups
from ollamake.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
MAGICS = (PARQUET, ARROW_FILE, ARROW_STREAM)
END_OF_STREAM = ARROW_STREAM + bytes(4)
MOST_ROWS = 1024
# What a batch of a Parquet file may take when each of its rows repeats the longest text of a dictionary.
LARGEST_BATCH_BYTES = 16 << 20
GATHERED_BYTES = 1 << 20
BUFFER_BYTES = 1 << 20


def batches(path: Path, file: BinaryIO, magic: bytes) -> Iterator["pa.RecordBatch"]:
    """Yield the record batches of the file, which `magic` begins. They are as their writer left them, not checked.

    The file is not memory-mapped: it may be cut off while it is read, and a map would end the process then.
    """
    import pyarrow as pa

    with pa.PythonFile(file, mode="r") as source:
        if magic.startswith(PARQUET):
            yield from _parquet(path, source, file)
        elif magic.startswith(ARROW_FILE):
            reader = pa.ipc.open_file(source)
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            _require_end(path, file)
            yield from pa.ipc.open_stream(source)


def _parquet(path: Path, source: Any, file: BinaryIO) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    groups = row_groups(file)
    # Of a large group one page after the other is read instead of whole columns; of a small one not, because a damaged
    # page can then claim any size. Checksums are verified where there are any.
    large = max((group.packed_bytes for group in groups), default=0) > LARGEST_BATCH_BYTES
    reader = pq.ParquetFile(
        source, buffer_size=BUFFER_BYTES if large else 0, pre_buffer=False, page_checksum_verification=True
    )
    unpacked_bytes = 0
    for number, group in enumerate(groups):
        # A page is unpacked as a whole, so what the file says of itself is looked at before.
        unpacked_bytes += group.unpacked_bytes
        refuse_bomb(path, unpacked_bytes, source.size())
        rows = max(1, min(MOST_ROWS, LARGEST_BATCH_BYTES // max(1, group.largest_row_bytes)))
        yield from _gathered(reader.iter_batches(rows, row_groups=[number], use_threads=False))


def _gathered(small: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Yield fewer and larger batches, because each has its cost whatever its size."""
    import pyarrow as pa

    held, size = list["pa.RecordBatch"](), 0
    for batch in small:
        held.append(batch)
        size += batch.nbytes
        if size >= GATHERED_BYTES:
            yield pa.concat_batches(held) if len(held) > 1 else batch
            held, size = [], 0
    if held:
        yield pa.concat_batches(held)


def _require_end(path: Path, file: BinaryIO) -> None:
    """Raise DataError when an Arrow stream has no end mark: readers take what is there for all there was."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(END_OF_STREAM)))
    if file.read() != END_OF_STREAM:
        raise DataError(
            "is an Arrow stream without its end: whatever wrote it was cut off",
            where=str(path),
            hint="write or fetch it again",
        )
    file.seek(0)
