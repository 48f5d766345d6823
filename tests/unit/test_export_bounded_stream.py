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
@pytest.mark.parametrize("in_lines", [False, True])
@pytest.mark.parametrize("block", [BLOCK, BLOCK + b"\n", b"\n" * len(BLOCK)], ids=["no line", "lines", "empty lines"])
def test_a_reply_without_an_end_is_cut_off_whatever_it_holds(block: bytes, in_lines: bool) -> None:
    with pytest.raises(httpx.ReadError, match="a reply of more than 67108864 bytes"):
        list(BoundedStream(Sent([block] * 65), in_lines=in_lines))


def second_by_second(monkeypatch: pytest.MonkeyPatch) -> "itertools.count[int]":
    """Let a second pass whenever the time is asked for, which is once for each block."""
    seconds = itertools.count()
    monkeypatch.setattr(bounded_stream, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    return seconds


@pytest.mark.row("R4.2")
@pytest.mark.parametrize(
    ("block", "in_lines", "what"),
    [
        (b"x", False, "reply"),
        (b"x\n", False, "reply"),
        (b"x", True, "line"),
        (b"\n", True, "line"),
        (b" \r\n", True, "line"),
    ],
)
def test_what_comes_bit_by_bit_is_given_up_after_two_minutes(
    block: bytes, in_lines: bool, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = second_by_second(monkeypatch)
    with pytest.raises(httpx.ReadTimeout, match=f"a {what} took more than 120 s to arrive"):
        list(BoundedStream(Sent([block] * 1000), in_lines=in_lines))
    assert next(seconds) < 200


@pytest.mark.parametrize("blocks", [[b"{}\n"], [b"{", b"}", b"\n"], [b"{", b"}\n{", b"}", b"\n", b"\n"]])
def test_the_lines_of_a_stream_may_come_for_hours(blocks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    second_by_second(monkeypatch)
    sent = blocks * 1000
    assert list(BoundedStream(Sent(sent), in_lines=True)) == sent


@pytest.mark.row("R4.2")
def test_a_stream_that_only_seems_to_get_on_is_given_up_after_six_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    second_by_second(monkeypatch)
    with pytest.raises(httpx.ReadTimeout, match="a reply took more than 21600 s to arrive"):
        list(BoundedStream(Sent([b"{}\n"] * 30_000), in_lines=True))


def test_a_server_may_be_silent_between_the_lines_of_a_stream_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 500.0, 1000.0, 1500.0])
    monkeypatch.setattr(bounded_stream, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert len(list(BoundedStream(Sent([b"{}\n"] * 3), in_lines=True))) == 3
