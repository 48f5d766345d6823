"""How large a base model is: by the headers of its weights where they are here, else by its card in the catalog."""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ollamake.base import RECORD, Base, store
from ollamake.files import read_json

EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in")
HEADS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True)
class Shape:
    """A base model in numbers.

    `parameters` counts all weights, `body` those of all layers, without embedding and output matrix; `stored_bytes` is
    their size on disk. `adapters` holds the number of weights that
    an adapter of rank 1 has on all layers of a name. `key_value` is the width of a token's keys and values together.
    """

    name: str
    parameters: int
    body: int
    stored_bytes: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    key_value: int
    adapters: Mapping[str, int]

    @property
    def head(self) -> int:
        """The weights of the output matrix, which are the embedding's in many models."""
        return self.vocabulary * self.hidden

    def adapter(self, rank: int, modules: str) -> int:
        """Return the number of weights of an adapter; `modules` is lora_target_modules."""
        names = set(modules.split())
        return rank * sum(count for name, count in self.adapters.items() if modules == "all-linear" or name in names)


def shape_of(base_model: str, *, fetched: bool) -> Shape | None:
    """Return the shape of the base model of params.yaml, None where nothing tells its size.

    `fetched` tells that models/base.json is of this base model.
    """
    if fetched and (found := stored_shape(read_json(RECORD))):
        return found
    if (folder := Path(base_model)).is_dir() and (folder / "config.json").is_file():
        return read_shape(base_model, folder)
    return _of_the_catalog(base_model)


def stored_shape(record: Mapping[str, Any]) -> Shape | None:
    """Return the shape of the model of `record`, the content of models/base.json; None where the store lacks it."""
    base = Base(store() / "base" / record["key"], dict(record))
    here = all((base.folder / name).is_file() for name in record["files"])
    return read_shape(record["name"], base.folder) if here else None


def _of_the_catalog(base_model: str) -> Shape | None:
    """Return the shape of a model by its name in models/catalog.yaml or its hub id, None for no such model."""
    from ollamake.catalog.cards import read_models

    found = (model for model in read_models() if base_model in (model.name, model.entry.hub_id))
    return next((model.shape.planned(model.name) for model in found), None)


def read_shape(name: str, folder: Path) -> Shape:
    """Return the shape of a model in Hugging Face's format, read without its weights."""
    config = read_json(folder / "config.json")
    config = config.get("text_config", config)
    tensors: dict[str, list[int]] = {}
    files = list(folder.glob("*.safetensors"))
    for file in files:
        tensors |= _header(file)
    hidden, heads = _first(config, "hidden_size", "n_embd"), _first(config, "num_attention_heads", "n_head")
    width = config.get("head_dim") or hidden // heads
    return Shape(
        name=name,
        parameters=sum(prod(size) for size in tensors.values()),
        body=sum(prod(size) for name, size in tensors.items() if _module(name) not in (*EMBEDDINGS, *HEADS)),
        stored_bytes=sum(file.stat().st_size for file in files),
        hidden=hidden,
        intermediate=_first(config, "intermediate_size", "n_inner", default=4 * hidden),
        layers=_first(config, "num_hidden_layers", "n_layer"),
        vocabulary=config["vocab_size"],
        key_value=2 * width * (config.get("num_key_value_heads") or heads),
        adapters=_adapters(tensors),
    )


def _first(config: Mapping[str, Any], *names: str, default: int = 0) -> int:
    return next((int(config[name]) for name in names if config.get(name)), default)


def _header(file: Path) -> dict[str, list[int]]:
    """Return the shapes of the tensors in a safetensors file, by name."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        content = json.loads(stream.read(length))
    return {name: entry["shape"] for name, entry in content.items() if name != "__metadata__"}


def _adapters(tensors: Mapping[str, list[int]]) -> dict[str, int]:
    """Return how many weights an adapter of rank 1 has on the layers of each name."""
    counts: Counter[str] = Counter()
    for name, size in tensors.items():
        if name.endswith(".weight") and len(size) == 2 and _module(name) not in (*EMBEDDINGS, *HEADS):
            counts[_module(name)] += sum(size)
    return dict(counts)


def _module(tensor: str) -> str:
    return tensor.removesuffix(".weight").rpartition(".")[2]
