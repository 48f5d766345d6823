"""A data file of any format, as a stream of chunks: what is in it tells the format, and its name what is left open."""

from collections.abc import Iterator
from pathlib import Path

from ollamake.data.formats.array import array_chunks
from ollamake.data.formats.batches import MAGICS
from ollamake.data.formats.delimited import delimited_chunks, delimiter_of
from ollamake.data.formats.file import require_file, unchanged, unreadable
from ollamake.data.formats.lines import line_chunks
from ollamake.data.formats.listing import DELIMITED, LINES, suffix_of
from ollamake.data.formats.lookalikes import refuse_binary
from ollamake.data.formats.rows import Chunk
from ollamake.data.formats.tables import table_chunks
from ollamake.data.formats.text import Text, open_text
from ollamake.errors import DataError

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 4096


def chunks(path: Path, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Chunk]:
    """Yield the rows of a data file, not decoded yet, in chunks of about `block_bytes` of text.

    Raises DataError when the file cannot be read as a whole: it is no data, is torn, or changes on the way.
    """
    require_file(path)
    with unchanged(path):
        try:
            with path.open("rb") as file:
                magic = file.read(8)
        except OSError as error:
            raise unreadable(path, error) from error
        if magic.startswith(MAGICS):
            yield from table_chunks(path, magic, block_bytes)
        else:
            with open_text(path) as text:
                yield from _text_chunks(path, text, block_bytes)


def _text_chunks(path: Path, text: Text, block_bytes: int) -> Iterator[Chunk]:
    head = text.head(HEAD_BYTES)
    refuse_binary(path, head, text.packing)
    content, suffix = head.lstrip(), suffix_of(path.name)
    first_line = content.partition(b"\n")[0].strip()
    if content.startswith(b"["):
        return array_chunks(path, text, block_bytes)
    if first_line == b"{" and suffix not in (".jsonl", ".ndjson"):
        raise DataError(
            "holds one JSON object over many lines",
            where=str(path),
            hint=f"`jq -c '.[][]' {path} > rows.jsonl` makes lines of the objects in its lists",
        )
    if not content or content.startswith(b"{") or suffix in LINES:
        return line_chunks(text, block_bytes)
    if suffix in DELIMITED or delimiter_of(first_line.decode("utf-8", "replace"), path):
        return delimited_chunks(path, text, block_bytes)
    raise DataError(
        "is text of no known format",
        where=str(path),
        hint="rows can be JSON Lines, a JSON array, CSV, TSV, Parquet or Arrow; the text formats also as .gz or .zst",
    )
