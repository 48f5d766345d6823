import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from ollamake.ollama import bounded_stream
from ollamake.ollama.bounded_stream import BoundedStream

BLOCK = b"x" * (1 << 20)


class Sent(httpx.SyncByteStream):
    """A body that arrives in these blocks."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks


def test_an_answer_as_long_as_a_large_context_fits_into_one_line() -> None:
    entry = {"token": " answer", "logprob": -12.345678901234567, "bytes": list(b" answer")}
    size = 32_768 * len(json.dumps({**entry, "top_logprobs": [entry] * 20}, separators=(",", ":")))
    blocks = [BLOCK] * (size // len(BLOCK))
    assert len(blocks) > 40
    assert sum(map(len, BoundedStream(Sent(blocks)))) == len(blocks) * len(BLOCK)


@pytest.mark.row("R4.7")
def test_a_line_without_an_end_is_cut_off() -> None:
    with pytest.raises(httpx.ReadError, match="a line of more than 67108864 bytes"):
        list(BoundedStream(Sent([BLOCK] * 65)))


@pytest.mark.row("R4.2")
def test_a_line_that_comes_byte_by_byte_is_given_up_after_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(bounded_stream, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    arrived = []
    with pytest.raises(httpx.ReadTimeout, match="a line took more than 120 s to arrive"):
        arrived.extend(iter(BoundedStream(Sent([b"x"] * 1000))))
    assert next(seconds) < 200


def test_any_number_of_lines_may_come() -> None:
    assert len(list(BoundedStream(Sent([BLOCK + b"\n"] * 70)))) == 70
