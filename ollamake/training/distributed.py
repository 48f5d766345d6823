"""How several processes share the work: what the Trainer is told about it, and what they gather at the end."""

from pathlib import Path
from typing import Any

from ollamake.errors import TrainingError
from ollamake.training.launch import world_size
from ollamake.training.settings import Settings


def sharing(settings: Settings) -> dict[str, Any]:
    """Return the arguments about several processes, those of gradient checkpointing included; FSDP has its own."""
    checkpointing = settings.gradient_checkpointing
    if world_size(settings) == 1:
        return {"activation_checkpointing": checkpointing}
    if settings.distributed == "fsdp":
        return {"fsdp": True, "fsdp_config": fsdp_config(checkpointing), "activation_checkpointing": False}
    if settings.distributed == "deepspeed":
        return {"deepspeed": deepspeed_config(settings.deepspeed_stage), "activation_checkpointing": checkpointing}
    # Every parameter takes part in every step.
    return {"ddp_find_unused_parameters": False, "activation_checkpointing": checkpointing}


def fsdp_config(activation_checkpointing: bool) -> dict[str, Any]:
    """Return FSDP2 with each of the layers wrapped that the model itself names as whole (`_no_split_modules`).

    Accelerate reads these names when the configuration has none.
    """
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": False,  # the weights are in a local folder that every process maps
        "activation_checkpointing": activation_checkpointing,
    }


def deepspeed_config(stage: int) -> dict[str, Any]:
    """Return DeepSpeed's ZeRO: stage 1 shares the optimizer out, 2 the gradients too, 3 the weights too.

    `auto` is filled in by the Trainer from its own arguments, so that no number stands twice.
    """
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # sgd and adafactor; ours is used, not one of DeepSpeed's
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def gathered_weights(trainer: Any) -> dict[str, Any] | None:
    """Return all weights of a model that FSDP or DeepSpeed has shared out, None where each process has them all.

    Every process has to call it; those but the first get nothing useful.
    """
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    weights: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights


def refuse_unshared(checkpoint: Path, accelerator: Any) -> None:
    """Raise TrainingError in every process unless each of them sees the checkpoint: several machines share a folder."""
    from torch import tensor

    seen = accelerator.gather(tensor([int((checkpoint / "trainer_state.json").is_file())], device=accelerator.device))
    if not bool(seen.all()):
        raise TrainingError(
            "not every machine has the checkpoint to go on from",
            where=str(checkpoint),
            hint=f"make {checkpoint.parent.parent} a folder that all machines share, or copy it to all of them; "
            "removed on the first machine, training starts over",
        )
