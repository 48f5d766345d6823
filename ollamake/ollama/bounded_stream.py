"""A bound on what a server may send, so that a broken one cannot fill the memory or hold a build for ever."""

import time
from collections.abc import Iterator

import httpx

# An answer has 1.5 kB of likeliest tokens for each of its own: this holds 40,000. Streamed, without those, 300,000.
MAX_BYTES = 64 << 20
# From the first byte on, for before it a server may have to load a model. A stream has as long for each of its lines.
MAX_SECONDS = 120.0
MAX_STREAM_SECONDS = 6 * 3600.0  # an answer of 40,000 tokens at two a second; the creation of a large model


class BoundedStream(httpx.SyncByteStream):
    """A response body that neither is endless nor takes for ever to arrive; `in_lines`: it is a stream of lines."""

    def __init__(self, stream: httpx.SyncByteStream, *, in_lines: bool = False) -> None:
        self._stream, self._in_lines = stream, in_lines

    def __iter__(self) -> Iterator[bytes]:
        """Pass the blocks on. Raises httpx.TransportError at a bound."""
        total_bytes, first = 0, time.monotonic()
        start: float | None = None  # when the reply, or the line of a stream, began to arrive
        holds_something = False  # an empty line is no progress
        for block in self._stream:
            now = time.monotonic()
            start = now if start is None else start
            total_bytes += len(block)
            if total_bytes > MAX_BYTES:
                raise httpx.ReadError(f"a reply of more than {MAX_BYTES} bytes")
            if now - start > MAX_SECONDS:
                what = "line" if self._in_lines else "reply"
                raise httpx.ReadTimeout(f"a {what} took more than {MAX_SECONDS:.0f} s to arrive")
            if now - first > MAX_STREAM_SECONDS:
                raise httpx.ReadTimeout(f"a reply took more than {MAX_STREAM_SECONDS:.0f} s to arrive")
            ended, newline, rest = block.rpartition(b"\n")
            if self._in_lines and newline and (holds_something or ended.strip()):
                start, holds_something = now if rest else None, False
            holds_something = holds_something or bool(rest.strip())
            yield block

    def close(self) -> None:
        """Release the connection."""
        self._stream.close()
