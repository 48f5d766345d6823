"""The trained model's weights, one at a time: an adapter joined with its base model, or the whole model.

The arithmetic of LoRA and DoRA is done here, in two formulas, because importing PEFT takes as long as converting a
small model. The proof then compares the result with PEFT's own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ollamake.errors import ConversionError
from ollamake.files import read_json
from ollamake.gguf.shards import Stored, read_shard

ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX, WRAPPED = "base_model.model.", ".base_layer."  # what PEFT adds to the base model's names
DOWN, UP, MAGNITUDE = "lora_A", "lora_B", "lora_magnitude_vector"
# What the formulas leave to PEFT: layers stored the other way round (GPT-2), other scales for some of the layers.
UNUSUAL = ("fan_in_fan_out", "alpha_pattern")


class TrainedWeights:
    """The weights of the trained model by the names in the files of `folder`, read when they are asked for.

    `stored` are the files' own. Raises ConversionError for weights that are no numbers or do not fit.
    """

    def __init__(self, base: Path, tuned: Path) -> None:
        self.adapted = (tuned / ADAPTER_CONFIG).is_file()
        self.folder, self._tuned = base if self.adapted else tuned, tuned
        shards = sorted(self.folder.glob("*.safetensors"))
        self.stored = {name: entry for file in shards for name, entry in read_shard(file).items()}
        self._config: dict[str, Any] = read_json(tuned / ADAPTER_CONFIG) if self.adapted else {}
        self._change: Any = None
        self._parts, self._brought = _changes(read_shard(tuned / ADAPTER)) if self.adapted else ({}, {})

    @property
    def by_name(self) -> bool:
        """Whether every change of the adapter is one of a weight in the files, by the formulas of this module.

        Not so for experts that transformers joins when it loads them: their adapter belongs to the joined ones.
        """
        plain = all(DOWN in parts and UP in parts for parts in self._parts.values())
        known = not any(self._config.get(key) for key in UNUSUAL)
        return plain and known and {*self._parts, *self._brought} <= self.stored.keys()

    def kind(self, name: str) -> str:
        """Return the number format (of TYPES) that `read` returns a weight in: fp32 if the adapter changes it.

        Adding a small update to bf16 weights rounds much of it away.
        """
        return "F32" if name in self._parts or name in self._brought else self.stored[name].kind

    def read(self, name: str) -> Any:
        """Return a weight as it was trained, an adapter merged into it, in memory of its own."""
        tensor = self._merged(name) if name in self._parts else self.read_unmerged(name)
        # Smallest and largest are NaN where anything is; `isfinite` would take a copy of a large matrix.
        if tensor.numel() and not all(math.isfinite(end) for end in tensor.aminmax()):
            raise unfit(self._tuned, "some of its weights are no numbers")
        return tensor

    def read_unmerged(self, name: str) -> Any:
        """Return a weight as it was trained, without the adapter that works beside it."""
        return self._brought[name].read().float() if name in self._brought else self.stored[name].read()

    def _merged(self, name: str) -> Any:
        import torch

        weight = self.stored[name].read().float()
        parts = {part: entry.read().float() for part, entry in self._parts[name].items()}
        rank = len(parts[DOWN])
        if parts[UP].shape != (len(weight), rank) or parts[DOWN].shape != (rank, weight[0].numel()):
            raise unfit(self._tuned, f"its adapter of {name} is for a matrix of another shape")
        if self._change is None or self._change.numel() < weight.numel():
            self._change = torch.empty(weight.numel())  # kept: fresh memory takes longer than the product
        change = torch.mm(parts[UP], parts[DOWN], out=self._change[: weight.numel()].view(weight.shape))
        merged = weight + change.mul_(self._scale(rank))  # not in place: the file's pages would be copied one by one
        if MAGNITUDE in parts:  # DoRA trains the length of each row apart from its direction
            merged.mul_((parts[MAGNITUDE] / torch.linalg.norm(merged, dim=1)).view(-1, 1))
        return merged

    def _scale(self, rank: int) -> float:
        alpha: float = self._config["lora_alpha"]
        return alpha / math.sqrt(rank) if self._config.get("use_rslora") else alpha / rank


def _changes(adapter: Mapping[str, Stored]) -> tuple[dict[str, dict[str, Stored]], dict[str, Stored]]:
    """Return the parts of the layers' adapters, and the tensors that an adapter brings whole (biases), by weight."""
    parts: dict[str, dict[str, Stored]] = {}
    brought: dict[str, Stored] = {}
    for name, entry in adapter.items():
        layer, _, part = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if part in (DOWN, UP, MAGNITUDE):
            parts.setdefault(f"{layer}.weight", {})[part] = entry
        else:
            brought[name.removeprefix(PREFIX).replace(WRAPPED, ".")] = entry
    return parts, brought


def unfit(tuned: Path, problem: str) -> ConversionError:
    """Return the error for a trained model that cannot be merged."""
    return ConversionError(
        f"cannot be merged: {problem}", where=str(tuned), hint="`dvc repro --force --single-item train`"
    )
