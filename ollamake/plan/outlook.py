"""The whole plan: what DVC would do, what it would cost, and what speaks against it. Nothing is written or run."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ollamake.base import RECORD
from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.plan import proposed
from ollamake.plan.advice import Caution, cautions, room_bytes
from ollamake.plan.calibration import Current, scale_of
from ollamake.plan.forecast import MODELS, Forecast, Forecaster, computes_in_bf16, predict
from ollamake.plan.graph import Step, code_of, foresee
from ollamake.plan.machine import Machine, this_machine
from ollamake.plan.runs import Runs
from ollamake.plan.shape import Shape, shape_of, stored_shape
from ollamake.plan.tokens import Tokens, count_tokens
from ollamake.plan.work import Training, training

TRAIN_ROWS = Path("data/distilled/train.jsonl")
Metrics = Callable[[str], Any]


@dataclass(frozen=True)
class Outlook:
    """What a build would come to; `costs` are of the stages that work, `training` of train if it is one of them."""

    steps: Sequence[Step]
    costs: Mapping[str, Forecast]
    machine: Machine
    shape: Shape | None
    tokens: Tokens | None
    training: Training | None
    free_disk: int
    cautions: Sequence[Caution]

    @property
    def seconds(self) -> float:
        """The sum over the stages of which it is known."""
        return sum(cost.seconds or 0.0 for cost in self.costs.values())

    @property
    def untimed(self) -> list[str]:
        """The stages of which nobody can tell how long they take."""
        return [stage for stage, cost in self.costs.items() if cost.seconds is None]

    @property
    def memory_bytes(self) -> float:
        """The highest peak: stages run one after the other."""
        return max((cost.memory_bytes or 0.0 for cost in self.costs.values()), default=0.0)

    @property
    def disk_bytes(self) -> float:
        """The most room that is needed at once."""
        return room_bytes(self.costs)

    @property
    def impossible(self) -> bool:
        """Whether the build certainly cannot run to its end."""
        return any(caution.certain for caution in self.cautions)


def look_ahead(target: str | None, overrides: Sequence[str]) -> Outlook:
    """Return the plan of `dvc repro`, or `dvc repro target`, with `overrides` as `dvc exp run -S` takes them.

    Raises ParamsError for parameters that no stage can use.
    """
    proposal, content = proposed.propose(overrides)
    repository = proposed.open_repository(proposal)
    steps = foresee(repository, target)
    working = [step.stage for step in steps if step.works]
    runs = Runs(Path(repository.cache.local.path).parents[1])
    machine = this_machine()
    record = _record(steps, runs)
    shape = (stored_shape(record) if record else None) or shape_of(content["base_model"], fetched=False)
    now, size = _metrics(steps, runs), TRAIN_ROWS.stat().st_size if TRAIN_ROWS.is_file() else 0
    tokens = count_tokens(now, _last, content, size)
    code = {stage: code_of(repository, stage) for stage in MODELS if stage in working}
    predicted = partial(predict, machine)
    key = record["key"] if record else ""
    scales = {stage: scale_of(stage, runs, Current(key, md5s), content, predicted) for stage, md5s in code.items()}
    rows = (now("prepare") or _last("prepare") or {}).get("rows")
    forecaster = Forecaster(machine, content, shape, tokens, rows, scales)
    costs = {stage: forecaster.of(stage) for stage in working}
    free, bf16 = shutil.disk_usage(".").free, computes_in_bf16(content, machine)
    return Outlook(
        steps=steps,
        costs=costs,
        machine=machine,
        shape=shape,
        tokens=tokens,
        training=training(content, shape, tokens, bf16=bf16) if "train" in working and shape and tokens else None,
        free_disk=free,
        cautions=cautions(steps, costs, forecaster, free),
    )


def _record(steps: Sequence[Step], runs: Runs) -> Any:
    """Return models/base.json as it will be, None where fetch has to run for it."""
    fetch = next((step for step in steps if step.stage == "fetch"), None)
    if fetch and fetch.fate != "unchanged":
        return runs.json(fetch.outs.get(str(RECORD), ""))
    return read_json(RECORD) if RECORD.is_file() else None


def _metrics(steps: Sequence[Step], runs: Runs) -> Metrics:
    """Return what gives the metrics of a stage that does not work: those that are there, or that DVC restores."""
    known = {step.stage: step.outs for step in steps}

    def of(stage: str) -> Any:
        file = f"metrics/{stage}.json"
        if stage not in known:  # upstream of the target there is nothing that is left out
            return _last(stage)
        return runs.json(known[stage].get(file, "")) or (_last(stage) if known[stage] else None)

    return of


def _last(stage: str) -> Any:
    """Return the metrics that stand in the workspace, None where there are none or no JSON."""
    try:
        return read_json(Path(f"metrics/{stage}.json"))
    except (OSError, ValueError, OllamakeError):
        return None
