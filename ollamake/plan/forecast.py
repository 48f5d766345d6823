"""What a stage that is going to run will cost here: seconds, memory, room on the disk, and on what grounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ollamake.plan import disk, memory, seconds, work
from ollamake.plan.calibration import Cost, Scale
from ollamake.plan.disk import NOTHING, Room
from ollamake.plan.machine import Machine
from ollamake.plan.shape import Shape
from ollamake.plan.tokens import Tokens

MODELS = ("train", "baseline", "evaluate", "convert")  # the stages that compute with the model
# Stages that take moments of their own, and what they wait for where they ask somebody else.
MOMENTS = {"collect": 2.0, "distill": 2.0, "gate": 3.0, "judge": 2.0, "report": 5.0, "export": 4.0}
ASKING = {"distill": "teacher", "judge": "judge_model"}


@dataclass(frozen=True)
class Forecast:
    """The cost of one stage; None for what nobody can tell. `parts` are the bytes at the peak by what takes them."""

    seconds: float | None = None
    memory_bytes: float | None = None
    room: Room = NOTHING
    basis: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecaster:
    """Predicts costs for a `machine`; `content` is params.yaml, `scales` what past runs say, by stage."""

    machine: Machine
    content: Mapping[str, Any]
    shape: Shape | None
    tokens: Tokens | None
    rows: int | None
    scales: Mapping[str, Scale] = field(default_factory=dict)

    def of(self, stage: str) -> Forecast:
        """Return the cost of a stage."""
        if stage in MODELS:
            return self._model(stage)
        if stage == "fetch":
            room = disk.of_fetch(self.shape) if self.shape else NOTHING
            return Forecast(room=room, basis="as fast as the network")
        if stage in seconds.ROWS_PER_SECOND:
            taken = sum(seconds.of_rows(stage, self.rows).values()) if self.rows else None
            room = disk.of_tokens(self.tokens) if self.tokens and stage == "tokenize" else NOTHING
            return Forecast(taken, room=room, basis="rough")
        if self.content.get(ASKING.get(stage, ""), "none") != "none":
            return Forecast(basis=f"as fast as {self.content[ASKING[stage]]} answers")
        return Forecast(MOMENTS.get(stage), basis="rough" if stage in MOMENTS else "")

    def _model(self, stage: str) -> Forecast:
        if self.shape is None:
            return Forecast(basis="size of the base model unknown")
        if self.tokens is None and stage != "convert":
            return Forecast(basis="number of tokens unknown")
        scale = self.scales.get(stage, Scale())
        timed = time_parts(stage, self.content, self.shape, self.tokens, self.machine)
        parts = {
            name: size * scale.memory
            for name, size in memory_parts(stage, self.content, self.shape, self.tokens, self.machine).items()
        }
        taken = timed.pop("start") + scale.seconds * sum(timed.values())
        return Forecast(taken, sum(parts.values()), self._room(stage), scale.basis, parts)

    def _room(self, stage: str) -> Room:
        if self.shape is None or (stage == "train" and self.tokens is None):
            return NOTHING
        if stage == "convert":
            return disk.of_conversion(work.conversion(self.content, self.shape), self.content)
        if stage == "train" and self.tokens:
            return disk.of_training(work.training(self.content, self.shape, self.tokens, bf16=self.machine.bf16))
        return NOTHING


def predict(
    machine: Machine, stage: str, content: Mapping[str, Any], shape: Shape, tokens: Tokens | None
) -> Cost | None:
    """Return what a stage that computes with the model is predicted to cost before any run is taken into account."""
    if tokens is None and stage != "convert":
        return None
    timed = time_parts(stage, content, shape, tokens, machine)
    start = timed.pop("start")
    return Cost(start, sum(timed.values()), sum(memory_parts(stage, content, shape, tokens, machine).values()))


def computes_in_bf16(content: Mapping[str, Any], machine: Machine) -> bool:
    """Tell whether matrix products run in bfloat16, as ollamake.device does with torch."""
    precision = content["precision"]
    return machine.bf16 if precision == "auto" else bool(precision == "bf16")


def time_parts(
    stage: str, content: Mapping[str, Any], shape: Shape, tokens: Tokens | None, machine: Machine
) -> dict[str, float]:
    """Return the seconds of train, baseline, evaluate or convert, by what takes them; `start` is one of them."""
    return _parts(seconds, stage, content, shape, tokens, machine)


def memory_parts(
    stage: str, content: Mapping[str, Any], shape: Shape, tokens: Tokens | None, machine: Machine
) -> dict[str, float]:
    """Return the bytes that train, baseline, evaluate or convert takes at its peak, by what takes them."""
    return _parts(memory, stage, content, shape, tokens, machine)


def _parts(
    cost: ModuleType, stage: str, content: Mapping[str, Any], shape: Shape, tokens: Tokens | None, machine: Machine
) -> dict[str, float]:
    bf16, gpu = computes_in_bf16(content, machine), bool(machine.gpu)
    found: dict[str, float]
    if stage == "convert" or tokens is None:
        found = cost.of_conversion(work.conversion(content, shape))
    elif stage == "train":
        found = cost.of_training(work.training(content, shape, tokens, bf16=bf16), gpu=gpu)
    else:
        found = cost.of_scoring(work.scoring(content, shape, tokens, tuned=stage == "evaluate", bf16=bf16), gpu=gpu)
    return found
