"""What a file is by its first bytes, for the kinds that are sometimes given in place of data."""

from pathlib import Path

from ollamake.errors import DataError

UTF_16 = "UTF-16 text"
FEATHER_1 = "a Feather file of version 1"
SIGNATURES = {
    b"\xff\xfe": UTF_16,
    b"\xfe\xff": UTF_16,
    b"PK\x03\x04": "a zip archive (or a spreadsheet, which is one inside)",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PAR1": "a Parquet file",
    b"PARE": "an encrypted Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"FEA1": FEATHER_1,
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"GGUF": "a GGUF model",
    b"\x7fELF": "a program",
    b"\x80\x04": "a Python pickle, which is never loaded here",
    b"\x80\x05": "a Python pickle, which is never loaded here",
}
TAR_AT = 257
HINTS = {
    UTF_16: "`iconv -f UTF-16 -t UTF-8 {path} > rows.jsonl` makes UTF-8 of it",
    FEATHER_1: "`pandas.read_feather` and `DataFrame.to_parquet` make a Parquet file of it",
}
OTHER_HINT = "unpack it, or write its rows to a file that can be read: JSON Lines, JSON, CSV, TSV, Parquet or Arrow"


def refuse_binary(path: Path, head: bytes, packing: str) -> None:
    """Raise DataError when the first bytes are not those of a text in UTF-8; `packing` is what they came out of."""
    kind = _kind(head)
    if kind:
        inside = f"holds, inside {packing}, what is " if packing else "is "
        hint = HINTS.get(kind, OTHER_HINT).format(path=path)
        raise DataError(f"{inside}{kind}", where=str(path), hint=hint)


def _kind(head: bytes) -> str:
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[TAR_AT:].startswith(b"ustar"):
        return "a tar archive"
    if len(head) > 1 and (head[0] == 0) != (head[1] == 0):
        return UTF_16  # without a byte order mark
    return "no text" if b"\0" in head and not head.lstrip().startswith((b"{", b"[")) else ""
