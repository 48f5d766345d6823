"""The bad data files of R5 (1 to 17, 32 to 48), each beside 60 good rows where it can be, made in a folder."""

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GOOD = [{"instruction": f"do {number}", "output": f"run {number}"} for number in range(60)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in GOOD)
ODD_NAME = "-rf $(touch owned)\n" + "x" * 200 + ".jsonl"


def _with(row: bytes) -> bytes:
    return LINES + row


def _parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, dictionary_pagesize_limit=1 << 30)
    return sink.getvalue()


def _instructions(answers: list[object]) -> bytes:
    return _parquet(instruction=[row["instruction"] for row in GOOD] + ["more"], output=answers)


def _arrow(columns: dict[str, object]) -> bytes:
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../owned.jsonl", LINES)
    return buffer.getvalue()


def _shards(folder: Path) -> None:
    (folder / "0.parquet").write_bytes(_parquet(**{key: [row[key] for row in GOOD] for key in GOOD[0]}))
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (folder / "1.parquet").write_bytes(_parquet(messages=[talk]))


def _bomb(folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "%b"}\n' % (b"x" * 1000) * 16_000) * 600)


def _dictionary(folder: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 10_000_000]))
    (folder / "a.arrow").write_bytes(_arrow({"text": column}))


def _link(folder: Path) -> None:
    (folder.parent / "secret.jsonl").write_bytes(LINES)
    (folder / "a.jsonl").symlink_to(folder.parent / "secret.jsonl")


def _cases(folder: Path) -> None:
    for name in ("Rows.jsonl", "rows.jsonl"):
        (folder / name).write_bytes(LINES)


def _csv() -> str:
    return (
        "instruction,output\n" + "".join(f'{row["instruction"]},"say\n{row["output"]}"\n' for row in GOOD) + "ragged\n"
    )


# A name with what the file holds, or what makes the folder.
FILES: dict[int, tuple[str, bytes] | Callable[[Path], None]] = {
    1: ("a.jsonl", b""),
    2: ("a.jsonl", b"\n\r\n \n"),
    3: ("a.jsonl", LINES.rstrip(b"\n")),
    4: ("a.jsonl", LINES[:-5]),
    5: ("a.jsonl", b"\xef\xbb\xbf" + LINES),
    6: ("a.jsonl", LINES.decode().encode("utf-16-be")),
    7: ("a.jsonl", _with('{"instruction": "a", "output": "café"}'.encode("latin-1"))),
    8: ("a.jsonl", _with(b'{"instruction": "a", "output": "\\ud800"}')),
    9: ("a.jsonl", _with(b'{"instruction": "a\\u0000", "output": "b"}')),
    10: ("a.jsonl", LINES.replace(b"\n", b"\r\n") + b"{}\r{}"),
    11: ("a.jsonl", _with('{"instruction": "a", "output": "b\u2028c\u2029d\u0085e"}'.encode())),
    12: ("a.jsonl", _with(b'{"text": "' + b"x" * (17 << 20) + b'"}')),
    13: ("a.jsonl", _with(b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}")),
    14: ("a.jsonl", _with(b'{"instruction": "a", "output": "b", "output": "c"}')),
    15: ("a.jsonl", _with(b'{"instruction": "a", "output": "b", "score": 1e999}')),
    16: ("a.jsonl", _with(b'{"instruction": "a", "output": "b", "id": %d}' % 2**70)),
    17: ("a.json", json.dumps(GOOD, indent=1).encode()),
    32: ("a.parquet", _instructions(["b"] * 61)[:-60]),
    33: ("a.parquet", _parquet(instruction=pa.array([], pa.string()), output=pa.array([], pa.string()))),
    34: ("a.parquet", _parquet(text=[f"text {number}" for number in range(60)], instruction=[b"a"] * 60)),
    35: _shards,
    36: _dictionary,
    37: ("a.csv", _csv().encode()),
    38: ("a.csv", b"instruction^output\nask^say\n"),
    39: ("a.jsonl", pickle.dumps(GOOD, protocol=4)),
    40: ("a.jsonl.gz", gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(99))),
    41: _bomb,
    42: ("a.json", _zip()),
    43: _link,
    44: lambda folder: os.mkfifo(folder / "a.jsonl"),
    47: (ODD_NAME, LINES),
    48: _cases,
}  # fmt: skip
