"""Safetensors files read a tensor at a time: the memory is that of the largest tensor, not of the model."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

# What safetensors calls the types of torch.
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
WHOLE = slice(None)


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its bytes begin at `start` of `file`."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int

    def read(self, rows: slice = WHOLE) -> Any:
        """Return the tensor, or some of its rows: pages of the file, copied where they are written to."""
        import numpy as np
        import torch

        first, last, _ = rows.indices(self.shape[0] if self.shape else 1)
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        kind = getattr(torch, TYPES[self.kind])
        if not prod(shape):
            return torch.empty(shape, dtype=kind)
        start = self.start + first * kind.itemsize * prod(self.shape[1:])
        content = np.memmap(self.file, mode="c", offset=start, shape=kind.itemsize * prod(shape))
        return torch.from_numpy(content).view(kind).reshape(shape)


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
