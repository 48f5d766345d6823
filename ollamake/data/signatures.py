"""MinHash signatures of many prompts at once.

A signature keeps, for each of 64 permutations of the hashes of a prompt's phrases, the smallest value: the share of
equal values in two signatures estimates the share of phrases that two prompts have in common (Jaccard). The values are
datasketch's; only the work on a whole batch is done here, because one object for each prompt takes 20 times as long.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 64
PHRASE_WORDS = 3
# So many bytes of text are worked on at a time that the arrays stay in the processor's cache.
TEXT_BYTES = 1 << 17
BASE, MIXER = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93  # odd, so that multiplying by them modulo 2^64 loses nothing
HALF = np.uint64(32)
Integers = NDArray[np.int64]
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]


def sketch(prompts: Sequence[str]) -> U32:
    """Return the signature of each prompt over its three-word phrases: (prompts, PERMUTATIONS).

    Words are what single spaces part; fewer than three are one phrase. The values are those of datasketch's MinHash
    (seed 1, affine32), whatever other prompts are in the batch.
    """
    pieces: list[bytes] = []
    first_pieces = []
    for prompt in prompts:
        first_pieces.append(len(pieces))
        pieces.extend(_pieces(prompt.encode()))
    signatures = np.empty((len(pieces), PERMUTATIONS), np.uint32)
    for start, stop in _blocks(pieces):
        signatures[start:stop] = _signatures(pieces[start:stop])
    if len(pieces) == len(prompts):
        return signatures
    return np.minimum.reduceat(signatures, first_pieces, axis=0)


def _pieces(prompt: bytes) -> Iterator[bytes]:
    """Yield the prompt in pieces of bounded size; two words stand in both neighbours, so that no phrase is lost."""
    start = 0
    while len(prompt) - start > TEXT_BYTES:
        piece = prompt[start : start + TEXT_BYTES]
        words = piece.rsplit(b" ", PHRASE_WORDS)
        if len(words) > PHRASE_WORDS:
            yield piece[: -len(words[-1]) - 1]
            start += len(words[0]) + 1
        else:  # words of many thousand letters are no words: what they are cut into stands for them
            yield piece
            start += TEXT_BYTES
    yield prompt[start:]


def _blocks(pieces: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of blocks of pieces that have at most TEXT_BYTES + 1 bytes, a space after each included."""
    start = size = 0
    for number, piece in enumerate(pieces):
        size += len(piece) + 1
        if size > TEXT_BYTES + 1:
            yield start, number
            start, size = number, len(piece) + 1
    if pieces:
        yield start, len(pieces)


def _signatures(pieces: Sequence[bytes]) -> U32:
    phrases, starts = _phrases(pieces)
    # The finalizer of MurmurHash3, which datasketch applies once before all permutations.
    phrases ^= phrases >> np.uint32(16)
    phrases *= np.uint32(0x85EBCA6B)
    phrases ^= phrases >> np.uint32(13)
    phrases *= np.uint32(0xC2B2AE35)
    phrases ^= phrases >> np.uint32(16)
    permuted = np.empty_like(phrases)
    signatures = np.empty((PERMUTATIONS, len(pieces)), np.uint32)
    for factor, summand, values in zip(*_permutations(), signatures, strict=True):
        np.multiply(phrases, factor, out=permuted)
        np.add(permuted, summand, out=permuted)
        np.minimum.reduceat(permuted, starts, out=values)
    return signatures.T


def _phrases(pieces: Sequence[bytes]) -> tuple[U32, Integers]:
    """Return a hash of each phrase of all pieces, and where those of each piece start.

    The hash is a polynomial in BASE over the bytes from the first word to the third: a difference of two prefix sums.
    """
    text = np.frombuffer(b" ".join(pieces) + b" ", np.uint8)
    powers, inverses = _powers()
    sums = np.zeros(len(text) + 1, np.uint64)
    np.cumsum(text * powers[: len(text)], out=sums[1:])
    word_ends = np.flatnonzero(text == ord(" "))
    word_starts = np.append(0, word_ends[:-1] + 1)
    last_words = np.searchsorted(word_ends, np.cumsum([len(piece) + 1 for piece in pieces]) - 1)
    first_words = np.append(0, last_words[:-1] + 1)
    counts = np.maximum(last_words - first_words + 2 - PHRASE_WORDS, 1)
    starts = np.cumsum(counts) - counts
    heads = np.arange(counts.sum()) + np.repeat(first_words - starts, counts)
    tails = np.minimum(heads + PHRASE_WORDS - 1, np.repeat(last_words, counts))
    begins = word_starts[heads]
    return _mixed((sums[word_ends[tails]] - sums[begins]) * inverses[begins]), starts


def _mixed(values: U64) -> U32:
    """Return 32 bits of each value that depend on all of its 64."""
    return (((values ^ (values >> HALF)) * np.uint64(MIXER)) >> HALF).astype(np.uint32)


@cache
def _powers() -> tuple[U64, U64]:
    """Return the powers of BASE modulo 2^64 and those of its inverse, for every place in a block."""
    powers = np.full((2, TEXT_BYTES + 1), [[BASE], [pow(BASE, -1, 1 << 64)]], np.uint64)
    powers[:, 0] = 1
    np.cumprod(powers, axis=1, out=powers)
    return powers[0], powers[1]


@cache
def _permutations() -> tuple[U32, U32]:
    """Return the factors and the summands of datasketch's permutations for seed 1.

    Drawn as datasketch draws them (a test compares): to import it takes 0.3 seconds and 50 MB in every worker.
    """
    draws = np.random.RandomState(1)
    factors = draws.randint(0, 1 << 31, PERMUTATIONS, np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, draws.randint(0, 1 << 32, PERMUTATIONS, np.uint32)
