"""Running out of memory: recognised, and answered with smaller batches that add up to the same steps."""

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from transformers import TrainerCallback

from ollamake.errors import MEMORY, TrainingError
from ollamake.files import read_json
from ollamake.training.checkpoint import newest
from ollamake.training.settings import Settings

Result = TypeVar("Result")

# What torch and the libraries under it say besides, as RuntimeError or (torch.OutOfMemoryError) a kind of it.
SAYINGS = ("out of memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
# oneDNN's whole message where it gets no room for its machine code; with more words it is of something it cannot do.
PRIMITIVE = "could not create a primitive"


class OutOfMemoryError(Exception):
    """Memory ran out after `steps` optimizer steps; holds nothing of what was in it."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"out of memory after {steps} steps")
        self.steps = steps


class Shortage(NamedTuple):
    """That memory ran out after `step` optimizer steps, and the batches from there on."""

    step: int
    per_device_batch_size: int
    gradient_accumulation_steps: int


class Remembering(TrainerCallback):
    """Puts the shortages into the Trainer's history, which checkpoints hold: who goes on from one knows of them."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        self.shortages = shortages

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Add what the history, perhaps of a checkpoint, does not tell yet."""
        for shortage in self.shortages[len(recorded(state.log_history)) :]:
            state.log_history.append({"step": state.global_step, "out_of_memory": shortage._asdict()})


def until_it_fits(train: Callable[[Settings, list[Shortage]], Result], settings: Settings, checkpoints: Path) -> Result:
    """Return what `train` returns for `settings`, or for smaller batches each time that it raises OutOfMemoryError.

    `train` is also given the shortages so far, those of a training that goes on from `checkpoints` included. Raises
    TrainingError when the model alone does not fit, or no batch does.
    """
    found = newest(checkpoints) if settings.distributed == "none" else None
    shortages = recorded(read_json(found / "trainer_state.json")["log_history"]) if found else []
    while True:
        try:
            return train(in_effect(settings, shortages), shortages)
        except OutOfMemoryError as error:
            steps = error.steps
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"the model itself does not fit into memory: {str(error).partition(chr(10))[0] or 'MemoryError'}",
                where="params.yaml",
                hint="`dvc exp run -S method=qlora` loads it in a quarter of the room, a smaller base_model needs "
                "less; `python -m ollamake plan` estimates how much",
            ) from None
        # Out here no error holds on to the frames, and they to the tensors, of the training that failed.
        shortages.append(after_shortage(in_effect(settings, shortages), steps))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        sizes = ", ".join(f"{name} {value}" for name, value in shortages[-1]._asdict().items() if name != "step")
        print(f"\nout of memory after {steps:,} steps: going on with {sizes}", file=sys.stderr)


def guarded(trainer: Any, work: Callable[[], None]) -> None:
    """Do `work`, in which `trainer` trains. Raises OutOfMemoryError when memory runs out in it.

    Of several processes the others cannot be told from here that the batches change: TrainingError ends them all.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    arguments, steps = trainer.args, trainer.state.global_step
    if arguments.world_size == 1:
        raise OutOfMemoryError(steps)
    size, accumulation = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    part = largest_part(size)
    sizes = f"-S per_device_batch_size={part} -S gradient_accumulation_steps={accumulation * size // (part or 1)}"
    raise TrainingError(
        f"out of memory after {steps:,} steps in process {arguments.process_index + 1} of {arguments.world_size}",
        where="params.yaml",
        hint=f"`dvc exp run {sizes}` takes the same steps with less" if part else REMEDIES,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is one of the many that mean that memory ran out, of a GPU or of the machine."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    said = str(error)
    return said == PRIMITIVE or bool(MEMORY.search(said)) or any(saying in said for saying in SAYINGS)


def recorded(history: Sequence[Mapping[str, Any]]) -> list[Shortage]:
    """Return the shortages that a Trainer's history tells of."""
    return [Shortage(**entry["out_of_memory"]) for entry in history if "out_of_memory" in entry]


def in_effect(settings: Settings, shortages: Sequence[Shortage]) -> Settings:
    """Return the settings with the batches that the last of `shortages` left."""
    if not shortages:
        return settings
    _, size, accumulation = shortages[-1]
    return settings.model_copy(update={"per_device_batch_size": size, "gradient_accumulation_steps": accumulation})


def after_shortage(settings: Settings, steps: int) -> Shortage:
    """Return half the batch size and twice the accumulation; for an odd size the largest part that divides it.

    So a step adds up the same rows. Raises TrainingError when there is no smaller size.
    """
    size = settings.per_device_batch_size
    part = largest_part(size)
    if part < (2 if settings.task == "kto" else 1):
        raise TrainingError(
            f"out of memory after {steps:,} steps with per_device_batch_size {size}, and no smaller one makes the "
            "same steps",
            where="params.yaml",
            hint=REMEDIES,
        )
    return Shortage(steps, part, settings.gradient_accumulation_steps * size // part)


def largest_part(size: int) -> int:
    """Return the largest number below `size` that divides it: half of an even one, 0 for 1."""
    return next((part for part in range(size // 2, 0, -1) if size % part == 0), 0)


REMEDIES = (
    "`dvc exp run -S gradient_checkpointing=true`; less at once by `-S max_length=128` (longer conversations are left "
    "out), `-S packing=false`, `-S method=qlora`; `python -m ollamake plan` estimates what each of them needs"
)
