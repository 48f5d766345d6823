"""Safetensors files read and written a tensor at a time: the memory is that of the largest tensor, not of the model."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

# What safetensors calls the types of torch, and the bytes of a number.
TYPES = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its bytes begin at `start` of `file`."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes."""
        return prod(self.shape) * TYPES[self.kind][1]

    def read(self) -> Any:
        """Return the tensor, in memory of its own: pages of a mapped file would stay and count."""
        import torch

        content = bytearray(self.size_bytes)
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            stream.readinto(content)
        if not content:
            return torch.empty(self.shape, dtype=getattr(torch, TYPES[self.kind][0]))
        return torch.frombuffer(content, dtype=getattr(torch, TYPES[self.kind][0])).reshape(self.shape)


def read_shard(file: Path) -> dict[str, Stored]:
    """Return every tensor of a safetensors file that `fetch` or `train` has written, by name, in the file's order."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    ordered = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return {
        name: Stored(file, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in ordered
    }


def write_shard(file: Path, kinds: Mapping[str, tuple[str, tuple[int, ...]]], tensors: Iterator[Any]) -> None:
    """Write tensors of known types (of TYPES) and shapes, which come one by one in the order of `kinds`."""
    import torch

    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (kind, shape) in kinds.items():
        start, end = end, end + prod(shape) * TYPES[kind][1]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}  # type: ignore[dict-item]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that numbers lie where processors like them
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for (kind, shape), tensor in zip(kinds.values(), tensors, strict=True):
            if tuple(tensor.shape) != shape or tensor.dtype != getattr(torch, TYPES[kind][0]):
                raise ValueError(f"{tensor.dtype} of shape {tuple(tensor.shape)} in place of {kind} of {shape}")
            stream.write(memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()))
