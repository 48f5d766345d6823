"""The front of a GGUF file: its metadata and where its weights lie.

Read here, because the `gguf` library builds numpy arrays for every token of the vocabulary, which takes two seconds.
The format is described in ggml's docs/gguf.md.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ollamake.errors import ConversionError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
FLOATS = {0: ("<f4", 4), 1: ("<f2", 2)}  # the tensor types F32 and F16: numpy's name, bytes an element
DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, its number format (a key of FLOATS or a block format), and its place in the file."""

    name: str
    kind: int
    elements: int
    offset: int


@dataclass(frozen=True)
class Header:
    """`metadata` holds scalars and texts; of an array, only how many elements it has."""

    metadata: dict[str, Any]
    tensors: list[Tensor]


def read_header(file: Path) -> Header:
    """Read the front of `file`. Raises ConversionError when it is no whole GGUF file."""
    try:
        with file.open("rb") as stream:
            header = _header(stream)
        _refuse_torn(header, file.stat().st_size)
    except (OSError, struct.error, KeyError, ValueError) as error:
        raise ConversionError(
            f"is not a whole GGUF file: {error}", where=str(file), hint="`dvc repro --force --single-item convert`"
        ) from error
    return header


def float_weights(file: Path, header: Header) -> Iterator[tuple[str, Any]]:
    """Yield the name and the values (one axis) of each F32 and F16 tensor, mapped into memory, not copied."""
    import numpy as np

    for tensor in header.tensors:
        if tensor.kind in FLOATS:
            number, _ = FLOATS[tensor.kind]
            yield tensor.name, np.memmap(file, number, "r", tensor.offset, (tensor.elements,))


def _header(stream: BinaryIO) -> Header:
    magic, _version, tensors, entries = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    metadata = {_text(stream): _value(stream, _number(stream, "I")) for _ in range(entries)}
    infos = [_tensor(stream) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    start = -stream.tell() % alignment + stream.tell()
    return Header(metadata, [Tensor(name, kind, elements, start + offset) for name, kind, elements, offset in infos])


def _refuse_torn(header: Header, size_bytes: int) -> None:
    for tensor in header.tensors:
        _, element_bytes = FLOATS.get(tensor.kind, ("", 0))
        if tensor.offset + tensor.elements * element_bytes > size_bytes:
            raise ValueError(f"it ends before {tensor.name}")


def _tensor(stream: BinaryIO) -> tuple[str, int, int, int]:
    name, axes = _text(stream), _number(stream, "I")
    elements = prod(_number(stream, "Q") for _ in range(axes))
    return name, _number(stream, "I"), elements, _number(stream, "Q")


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _text(stream)
    if kind != ARRAY:
        return _number(stream, SCALARS[kind])
    element, length = _number(stream, "I"), _number(stream, "Q")
    if element in SCALARS:
        stream.seek(length * struct.calcsize(SCALARS[element]), 1)
    else:
        for _ in range(length):
            _value(stream, element)
    return length


def _text(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "Q")).decode("utf-8", errors="replace")


def _number(stream: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", stream.read(struct.calcsize(form)))[0]
