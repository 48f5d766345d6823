"""Weights are looked at before they are trusted: headers, shards, completeness, numbers. Without torch, in blocks."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.resolve.safety import load
from ollamake.resolve.tokenizer_parity import load_tokenizer

BLOCK_BYTES = 1 << 24
# Bits of the exponent: a number with all of them set is infinite or not a number.
EXPONENTS = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52)}
LAYER = re.compile(r"^(.*\.layers\.)(\d{1,6})\.(.+)$", re.ASCII)
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Tensor:
    """A tensor's place: `start` and `end` are bytes from the beginning of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def check_weights(folder: Path) -> None:
    """Raise BaseModelError unless the safetensors of `folder` are whole, complete for config.json and finite."""
    tensors = read_tensors(folder)
    config = load(folder / "config.json")
    _check_layers(tensors, config.get("num_hidden_layers"), folder)
    _check_embedding(tensors, config, folder)
    if not config.get("tie_word_embeddings", True) and "lm_head.weight" not in tensors:
        raise _broken(folder, "lm_head.weight is missing, and config.json does not tie it to the embedding")
    for name, tensor in tensors.items():
        check_finite(name, tensor)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return every tensor by name. Raises BaseModelError for a malformed header or a missing shard."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= dict(_header(file))
    index = folder / "model.safetensors.index.json"
    listed = load(index).get("weight_map", {}) if index.is_file() else {}
    if not isinstance(listed, dict):
        raise _broken(index, "weight_map is not the file of each tensor")
    wrong = [name for name, shard in listed.items() if name not in tensors or tensors[name].file.name != shard]
    if wrong:
        raise _broken(index, f"{wrong[0]} is not in {listed[wrong[0]]} ({len(wrong)} such tensors)")
    return tensors


def _header(file: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        # Checks what this code relies on: header size (100 MB at most), offsets without gaps or overlaps, file length.
        with safe_open(file, framework="numpy"):
            pass
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: Mapping[str, Any] = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise _broken(file, str(error)) from error
    for name, facts in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in facts["data_offsets"])
            yield name, Tensor(file, facts["dtype"], tuple(facts["shape"]), start, end)


def _check_layers(tensors: Mapping[str, Tensor], layers: Any, folder: Path) -> None:
    """Every layer holds the same tensors in the same shapes, in all architectures that are supported."""
    shapes: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        if match := LAYER.match(name):
            shapes.setdefault(int(match[2]), {})[match[1] + match[3]] = tensor.shape
    if not shapes or len(shapes) != layers or max(shapes) != layers - 1:
        raise _broken(folder, f"config.json promises {layers} layers, the weights hold {len(shapes)}")
    for layer, held in shapes.items():
        odd = {name for name, _ in shapes[0].items() ^ held.items()}
        if odd:
            raise _broken(folder, f"{min(odd)} is missing or of another shape in layer {layer} than in layer 0")


def _check_embedding(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> None:
    if EMBEDDING not in tensors:
        raise _broken(folder, f"{EMBEDDING} is missing")
    shape, expected = tensors[EMBEDDING].shape, (config.get("vocab_size"), config.get("hidden_size"))
    if shape != expected:
        raise _broken(folder, f"{EMBEDDING} has the shape {shape}, config.json says {expected}")
    highest = max(load_tokenizer(folder).get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= shape[0]:
        raise BaseModelError(
            f"the tokenizer has ids up to {highest}, the embedding only {shape[0]} rows",
            where=str(folder),
            hint="tokenizer and weights are of different models: take both from the same place",
        )


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise BaseModelError when a number of `tensor` is infinite or none; reads in blocks, so any size fits."""
    import numpy as np

    if tensor.dtype not in EXPONENTS:
        raise _broken(tensor.file, f"{name} is stored as {tensor.dtype}, not as one of {', '.join(EXPONENTS)}")
    kind, exponent = EXPONENTS[tensor.dtype]
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        for start in range(tensor.start, tensor.end, BLOCK_BYTES):
            bits = np.frombuffer(stream.read(min(BLOCK_BYTES, tensor.end - start)), kind)
            if np.any((bits & bits.dtype.type(exponent)) == exponent):
                raise _broken(tensor.file, f"{name} holds NaN or infinity")


def _broken(where: Path, problem: str) -> BaseModelError:
    return BaseModelError(problem, where=str(where), hint="the weights are damaged or incomplete: bring them again")
