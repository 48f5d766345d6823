"""What a person should know before the build starts: what will not fit, and which parameter makes it fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ollamake.plan.forecast import MODELS, Forecast, Forecaster
from ollamake.plan.graph import Step

ERROR = 0.2  # how far a prediction of memory may be off
BRING = "bring it (`dvc checkout` or `dvc pull` does, where DVC tracks it), or correct params.yaml"
SMALLER = "a smaller base_model (`python -m ollamake models recommend`)"


class Caution(NamedTuple):
    """What is wrong, what helps, and whether the build certainly cannot run."""

    problem: str
    hint: str
    certain: bool = False


def cautions(
    steps: Sequence[Step], costs: Mapping[str, Forecast], forecaster: Forecaster, free_disk: int
) -> list[Caution]:
    """Return what speaks against running the `steps`; `costs` by stage, `free_disk` in bytes."""
    found = [
        Caution(f"{step.stage} cannot run without {', '.join(step.missing)}", BRING, True)
        for step in steps
        if step.missing
    ]
    found += [one for stage in MODELS if stage in costs for one in _memory(stage, costs[stage], forecaster)]
    return found + list(_disk(costs, free_disk))


def _memory(stage: str, cost: Forecast, forecaster: Forecaster) -> Iterator[Caution]:
    machine, needed = forecaster.machine, cost.memory_bytes
    if stage == "convert" and machine.gpu:
        return  # it computes on the CPU, whose memory is not looked at here
    if needed is None or needed <= machine.free_bytes:
        return
    said = f"{stage} needs about {_gb(needed)} of memory"
    if needed <= machine.memory_bytes:
        yield Caution(f"{said}, {_gb(machine.free_bytes)} of {machine.name}'s are free now", "end what takes the rest")
        return
    remedy = _remedy(stage, forecaster)
    yield Caution(f"{said}, {machine.name} has {_gb(machine.memory_bytes)}", remedy, _cannot(stage, forecaster))


def _cannot(stage: str, forecaster: Forecaster) -> bool:
    """Tell whether a stage runs out of memory even with the smallest batches and a prediction that is much too high."""
    least = {"per_device_batch_size": 1, "eval_batch_size": 1}
    needed = _needed(stage, least, forecaster)
    return needed * (1 - ERROR) > forecaster.machine.memory_bytes


def _needed(stage: str, changes: Mapping[str, Any], forecaster: Forecaster) -> float:
    changed = replace(forecaster, content={**forecaster.content, **changes})
    return changed.of(stage).memory_bytes or 0.0


def _remedy(stage: str, forecaster: Forecaster) -> str:
    """Return the mildest change of parameters with which the stage fits, as `dvc exp run` takes it."""
    for changes in _candidates(stage, forecaster.content):
        needed = _needed(stage, changes, forecaster)
        if needed <= forecaster.machine.memory_bytes * (1 - ERROR):
            asked = " ".join(f"-S {key}={str(value).lower()}" for key, value in changes.items())
            return f"`{asked}` needs about {_gb(needed)}"
    return SMALLER if stage == "convert" else f"no batch is small enough; {SMALLER}"


def _candidates(stage: str, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield changes that save memory, those that cost least first: smaller batches change nothing but the speed."""
    if stage == "convert":
        return
    if stage != "train":
        size = content["eval_batch_size"]
        yield from ({"eval_batch_size": part} for part in _parts(size))
        return
    size, accumulation = content["per_device_batch_size"], content["gradient_accumulation_steps"]
    batches = [
        {"per_device_batch_size": part, "gradient_accumulation_steps": accumulation * size // part}
        for part in _parts(size)
        if part > 1 or content["task"] != "kto"
    ]
    yield from batches
    smallest = batches[-1] if batches else {}
    for extra in ({"gradient_checkpointing": True}, {"gradient_checkpointing": True, "method": "qlora"}):
        yield {**extra}
        yield {**smallest, **extra}


def _parts(size: int) -> list[int]:
    """Return the numbers below `size` that divide it, largest first."""
    return [part for part in range(size // 2, 0, -1) if size % part == 0]


def _disk(costs: Mapping[str, Forecast], free: int) -> Iterator[Caution]:
    needed = room_bytes(costs)
    if needed > free:
        largest = max(costs, key=lambda stage: sum(costs[stage].room))
        yield Caution(
            f"the build needs about {_gb(needed)} on the disk, most of it for {largest}, and {_gb(free)} are free",
            "`dvc gc --workspace --all-experiments --dry` shows what DVC could drop; less take `-S keep_best=0`, "
            f"fewer names in gguf_quantization, {SMALLER}",
            needed * (1 - ERROR) > free,
        )


def room_bytes(costs: Mapping[str, Forecast]) -> float:
    """Return the most room that the stages need at once: what all of them keep, and the most that one needs besides."""
    rooms = [cost.room for cost in costs.values()]
    return sum(room.kept for room in rooms) + max((room.meanwhile for room in rooms), default=0.0)


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
