"""What a base model needs to be trained and scored, by the formula of `ollamake plan`, and what a machine can hold.

Every conversation counts as long as max_length allows, so the figures are those of the worst batch; shorter ones take
less. `ollamake plan` knows the lengths of the data at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollamake.catalog.cards import Model
from ollamake.cloud.estimate import FROZEN, QUANTIZED
from ollamake.plan.forecast import memory_parts
from ollamake.plan.machine import Machine
from ollamake.plan.tokens import Split, Tokens

# From the one that learns most to the one that needs least.
METHODS = ("full", "lora", "qlora")
ROWS = 10_000  # enough for all that grows in the first steps


@dataclass(frozen=True)
class Fit:
    """A model trained by a method and scored in batches of `eval_batch_size`: the peak memory of each stage."""

    method: str
    eval_batch_size: int
    needs: Mapping[str, float]

    @property
    def stage(self) -> str:
        """The stage that takes most."""
        return max(self.needs, key=lambda stage: self.needs[stage])

    @property
    def need_bytes(self) -> float:
        """What a whole build takes: stages run one after the other."""
        return self.needs[self.stage]


def training_bytes(model: Model, method: str, content: Mapping[str, Any], machine: Machine) -> float:
    """Return the peak memory of training `model` by `method` with the other parameters in `content`."""
    content = {**content, "method": method, "packing": False}
    # bitsandbytes quantizes linear layers, and the experts of a mixture are none in transformers.
    joined = (FROZEN - QUANTIZED[content["qlora_bits"]]) * model.shape.joined if method == "qlora" else 0.0
    return _stage_bytes("train", model, content, machine) + joined


def scoring_bytes(model: Model, method: str, content: Mapping[str, Any], machine: Machine) -> dict[str, float]:
    """Return the peak memory of baseline and evaluate, which hold all weights unquantized whatever the method."""
    content = {**content, "method": method}
    return {stage: _stage_bytes(stage, model, content, machine) for stage in ("baseline", "evaluate")}


def conversion_bytes(model: Model, content: Mapping[str, Any], machine: Machine) -> float:
    """Return the peak memory of `convert`, which is always the machine's and never a GPU's."""
    return _stage_bytes("convert", model, content, machine)


def fit(model: Model, method: str, content: Mapping[str, Any], machine: Machine) -> Fit:
    """Return what a build by `method` takes, with eval_batch_size halved as often as it has to be to fit, down to 1.

    Without a GPU the model has to be converted in the same memory.
    """
    needs = {"train": training_bytes(model, method, content, machine)}
    if not machine.gpu:
        needs["convert"] = conversion_bytes(model, content, machine)
    size = content["eval_batch_size"]
    while True:
        scored = scoring_bytes(model, method, {**content, "eval_batch_size": size}, machine)
        if size == 1 or max(scored.values()) <= machine.memory_bytes:
            return Fit(method, size, needs | scored)
        size //= 2


def best_fit(
    model: Model, content: Mapping[str, Any], machine: Machine, methods: tuple[str, ...] = METHODS
) -> Fit | None:
    """Return the first of `methods` by which the model can be built in all memory of the machine, None for none."""
    fits = (fit(model, method, content, machine) for method in methods)
    return next((found for found in fits if found.need_bytes <= machine.memory_bytes), None)


def longest_rows(length: int) -> Tokens:
    """Return the tokens of data in which every row has `length` of them, half of them supervised."""
    split = Split(rows=ROWS, tokens=ROWS * length, supervised=ROWS * length // 2, deviation=0.0, longest=length)
    return Tokens(split, split, split, packs=0, basis="rows of max_length tokens", counted=False)


def _stage_bytes(stage: str, model: Model, content: Mapping[str, Any], machine: Machine) -> float:
    tokens = longest_rows(min(content["max_length"], model.entry.context_length))
    return sum(memory_parts(stage, content, model.shape.planned(model.name), tokens, machine).values())
