"""Data files of every format with some of their bytes changed: read, or refused with one clear message."""

import gzip
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ollamake.data.formats.listing import list_files
from ollamake.data.records import findings_of
from ollamake.errors import DataError
from tests.faults.mutation import Mutator
from tests.fuzz.verdict import told

PAIRS = [{"instruction": f"do {number}", "output": f'say "{number}", then\nrest'} for number in range(40)]
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
TALKS = [{"messages": TURNS, "n": number} for number in range(9)]


def _lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in PAIRS)


def _array() -> bytes:
    return json.dumps([*PAIRS, *TALKS], indent=1).encode()


def _cells() -> bytes:
    cells = ['{instruction},"{}"\n'.format(row["output"].replace('"', '""'), **row) for row in PAIRS]
    return ("instruction,output\n" + "".join(cells)).encode()


def _zstd(text: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(text, asbytes=True)
    return packed


def _table() -> pa.Table:
    table = pa.Table.from_pylist([{**row, "weight": 1.5, "tags": ["x"]} for row in PAIRS])
    return table.set_column(0, "instruction", table["instruction"].dictionary_encode())


def _parquet(**how: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(), sink, row_group_size=16, **how)
    return sink.getvalue()


def _arrow(new: Callable[..., Any], table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)
    content: bytes = sink.getvalue().to_pybytes()
    return content


FORMS: dict[str, Callable[[], bytes]] = {
    "a.jsonl": _lines,
    "a.json": _array,
    "a.csv": _cells,
    "a.jsonl.gz": _lines,
    "a.json.zst": _array,
    "a.parquet": _parquet,
    "b.parquet": lambda: _parquet(compression="none", use_dictionary=False),
    "a.arrow": lambda: _arrow(pa.ipc.new_file, _table()),
    "b.arrow": lambda: _arrow(pa.ipc.new_stream, pa.Table.from_pylist(TALKS)),
    "state.json": lambda: json.dumps({"_data_files": [{"filename": "a.arrow"}]}).encode(),
}
# Of these the text is changed before it is packed, or the packed bytes are.
PACKINGS: dict[str, Callable[[bytes], bytes]] = {"a.jsonl.gz": partial(gzip.compress, mtime=0), "a.json.zst": _zstd}


class Files:
    """Writes each changed file into a folder and reads what the folder then holds."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._good = folder / "data", {name: make() for name, make in FORMS.items()}
        self._folder.mkdir()

    def __call__(self, seed: int, number: int) -> str:
        """Return what became of a file in a word."""
        mutator, name = Mutator(seed, number), list(FORMS)[number % len(FORMS)]
        path = self._folder / name
        pack, good = PACKINGS.get(name, bytes), self._good[name]
        inside = mutator.draw.random() < 0.7
        path.write_bytes(pack(mutator.damaged(good)) if inside else mutator.damaged(pack(good)))
        if name == "state.json":
            (self._folder / "a.arrow").write_bytes(self._good["a.arrow"])
        try:
            found = [finding for file in list_files(self._folder) for finding in findings_of(file, "auto")]
        except DataError as error:
            return f"{name}: {told(error, '')}"
        finally:
            for file in self._folder.iterdir():
                file.unlink()
        return f"{name}: {'read in part' if found else 'read'}"
