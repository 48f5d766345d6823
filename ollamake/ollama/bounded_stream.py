"""A bound on what a server may send, so that a broken one cannot fill the memory or hold a build for ever."""

import time
from collections.abc import Iterator

import httpx

# An answer is one line, with 1.5 kB of likeliest tokens for each of its own: this holds 40,000 tokens.
MAX_LINE_BYTES, MAX_LINE_SECONDS = 64 << 20, 120.0


class BoundedStream(httpx.SyncByteStream):
    """A response body none of whose lines is endless or takes for ever to arrive."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Pass the blocks on. Raises httpx.TransportError at a bound."""
        line_bytes, line_start = 0, time.monotonic()
        for block in self._stream:
            if b"\n" in block or line_bytes == 0:
                line_bytes, line_start = 0, time.monotonic()
            line_bytes += len(block) - (block.rfind(b"\n") + 1)
            if line_bytes > MAX_LINE_BYTES:
                raise httpx.ReadError(f"a line of more than {MAX_LINE_BYTES} bytes")
            if time.monotonic() - line_start > MAX_LINE_SECONDS:
                raise httpx.ReadTimeout(f"a line took more than {MAX_LINE_SECONDS:.0f} s to arrive")
            yield block

    def close(self) -> None:
        """Release the connection."""
        self._stream.close()
