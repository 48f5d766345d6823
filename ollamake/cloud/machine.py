"""Which machine to rent: the smallest GPU on which a training fits, and what stands around it."""

import math
from dataclasses import dataclass

from ollamake.base import RECORD, open_base
from ollamake.cloud.estimate import Estimate, estimate
from ollamake.errors import BaseModelError, OllamakeError, ParamsError
from ollamake.resolve.catalog import find, read_catalog
from ollamake.training.settings import Settings

# Memory in GB of 10^9 bytes by SkyPilot's names of the GPUs, from what is mostly the cheapest to the dearest.
GPUS = {"T4": 16, "L4": 24, "A10G": 24, "A100": 40, "L40S": 48, "A100-80GB": 80, "H100": 80, "H200": 141, "B200": 180}
# T4 has no bfloat16, so it is taken only when asked for; A10G and H100 cost more than others of their size.
PREFERRED = ("L4", "A100", "L40S", "A100-80GB", "H200", "B200")
MEMORY_STEP, DISK_STEP = 16, 50
SYSTEM_GB, PACKAGES_GB = 16, 60


@dataclass(frozen=True)
class Machine:
    """One of the machines to rent: memory and disk in GB, and the estimate that they come from."""

    gpu: str
    gpus: int
    memory: int
    disk: int
    estimate: Estimate


def choose_machine(settings: Settings, parameters: int, max_length: int, gpu: str | None = None) -> Machine:
    """Return the machine for a model of so many parameters, with `gpu` where one is named.

    Raises ParamsError when the estimate fits no GPU, or not the named one.
    """
    need = estimate(settings, parameters, max_length)
    fitting = [name for name in PREFERRED if GPUS[name] * 1e9 >= need.total]
    if gpu is not None and gpu not in GPUS:
        raise ParamsError(f"--gpu: {gpu} is not known", hint=f"one of {', '.join(GPUS)}")
    if (gpu is None and not fitting) or (gpu is not None and GPUS[gpu] * 1e9 < need.total):
        raise ParamsError(
            f"the training takes an estimated {need}, and {gpu or PREFERRED[-1]} has {GPUS[gpu or PREFERRED[-1]]} GB",
            where="params.yaml",
            hint="less take: gradient_checkpointing: true, a smaller per_device_batch_size, method: lora or qlora, "
            "distributed: fsdp with a larger num_processes"
            + (f"; or `--gpu {fitting[0]}`, on which it would fit" if fitting else ""),
        )
    # Each process loads the weights, in the type that it trains them in, before any GPU has them.
    loaded = parameters * (4 if settings.method == "full" else 2) * settings.num_processes / 1e9
    # The base model, checkpoints, the tuned model, and its merged and quantized copies.
    kept = parameters * (2 + (3 * 12 + 2 if settings.method == "full" else 1) + 4) / 1e9
    return Machine(
        gpu=gpu or fitting[0],
        gpus=settings.num_processes,
        memory=_up(loaded + SYSTEM_GB, MEMORY_STEP),
        disk=_up(kept + PACKAGES_GB, DISK_STEP),
        estimate=need,
    )


def count_parameters(base_model: str) -> int:
    """Return how many parameters the base model of params.yaml has: from the catalog, else from the store.

    Raises BaseModelError for a model that is in neither.
    """
    if entry := find(base_model, read_catalog()):
        return entry[1].parameters
    try:
        base = open_base(RECORD)
    except (OSError, OllamakeError) as error:
        raise BaseModelError(
            f"nothing is known of the size of {base_model}",
            where="params.yaml",
            hint="`dvc repro fetch` fetches it, or say it: `python -m ollamake cloud render --parameters 7e9`",
        ) from error
    return base.weights_bytes // (4 if base.config.get("dtype") == "float32" else 2)


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step
