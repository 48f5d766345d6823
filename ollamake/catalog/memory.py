"""What a base model needs to be trained by each method, by the formula of `ollamake plan`, and what a machine can hold.

Every conversation counts as long as max_length allows, so the figures are those of the worst batch; shorter ones take
less. `ollamake plan` knows the lengths of the data at hand.
"""

from collections.abc import Mapping
from typing import Any

from ollamake.catalog.cards import Model
from ollamake.cloud.estimate import FROZEN, QUANTIZED
from ollamake.plan.forecast import memory_parts
from ollamake.plan.machine import Machine
from ollamake.plan.tokens import Split, Tokens

# From the one that learns most to the one that needs least.
METHODS = ("full", "lora", "qlora")
ROWS = 10_000  # enough for all that grows in the first steps


def training_bytes(model: Model, method: str, content: Mapping[str, Any], machine: Machine) -> float:
    """Return the peak memory of training `model` by `method` with the other parameters in `content`."""
    content = {**content, "method": method, "packing": False}
    shape, tokens = model.shape, longest_rows(min(content["max_length"], model.entry.context_length))
    parts = memory_parts("train", content, shape.planned(model.name), tokens, machine)
    # bitsandbytes quantizes linear layers, and the experts of a mixture are none in transformers.
    joined = (FROZEN - QUANTIZED[content["qlora_bits"]]) * shape.joined if method == "qlora" else 0.0
    return sum(parts.values()) + joined


def conversion_bytes(model: Model, content: Mapping[str, Any], machine: Machine) -> float:
    """Return the peak memory of `convert`, which is always the machine's and never a GPU's."""
    return sum(memory_parts("convert", content, model.shape.planned(model.name), None, machine).values())


def best_method(model: Model, content: Mapping[str, Any], machine: Machine) -> str:
    """Return the first of METHODS by which the model can be trained in all memory of the machine, empty for none.

    Without a GPU it has to be converted in the same memory.
    """
    if not machine.gpu and conversion_bytes(model, content, machine) > machine.memory_bytes:
        return ""
    fitting = (name for name in METHODS if training_bytes(model, name, content, machine) <= machine.memory_bytes)
    return next(fitting, "")


def longest_rows(length: int) -> Tokens:
    """Return the tokens of data in which every row has `length` of them, half of them supervised."""
    split = Split(rows=ROWS, tokens=ROWS * length, supervised=ROWS * length // 2, deviation=0.0, longest=length)
    return Tokens(split, split, split, packs=0, basis="rows of max_length tokens", counted=False)
