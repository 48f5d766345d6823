"""What the Trainer is told, from the settings."""

from pathlib import Path
from typing import Any

from ollamake.device import computes_in_bf16
from ollamake.training.distributed import sharing
from ollamake.training.kernels import kernels
from ollamake.training.settings import Settings

SCHEDULERS = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
    "polynomial": "polynomial",
    "cosine_restarts": "cosine_with_restarts",
}

DEBUG_STEPS = 10


def training_arguments(settings: Settings, device: Any, folder: Path) -> Any:
    """Return the TRL configuration of the task. `folder` takes the Trainer's checkpoints."""
    configuration, own = task_arguments(settings)
    arguments = configuration(
        output_dir=str(folder),
        **optimization(settings),
        **batches(settings, device),
        **sharing(settings),
        **kernels(settings),
        seed=settings.train_seed,
        bf16=computes_in_bf16(settings.precision, device),
        use_cpu=device.type == "cpu",
        eval_strategy="no",  # ollamake.training.callbacks says when
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show a diverged step as a loss of 0
        report_to="none",
        max_length=None,  # tokenize has dropped what is too long
        **own,
    )
    # One process, one device: several GPUs are for `distributed`, never for DataParallel inside one process.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments


def task_arguments(settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return TRL's configuration class for the task, and the arguments that only this class takes."""
    from trl import DPOConfig, KTOConfig, SFTConfig

    if settings.task == "dpo":
        own = {"loss_type": [settings.dpo_loss], "label_smoothing": settings.label_smoothing}
        return DPOConfig, {"beta": settings.preference_beta, "disable_dropout": False, **own}
    if settings.task == "kto":
        weights = {
            "desirable_weight": settings.kto_desirable_weight,
            "undesirable_weight": settings.kto_undesirable_weight,
        }
        return KTOConfig, {"beta": settings.preference_beta, "disable_dropout": False, **weights}
    return SFTConfig, {"dataset_kwargs": {"skip_prepare_dataset": True}}


def optimization(settings: Settings) -> dict[str, Any]:
    """Return the arguments about steps: how large, how many, and what acts on them."""
    return {
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": SCHEDULERS[settings.lr_scheduler],
        "lr_scheduler_kwargs": _schedule(settings),
        # transformers 5 reads a value below 1 as a share of all steps
        "warmup_steps": settings.warmup_steps or settings.warmup_ratio,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "num_train_epochs": settings.num_epochs,
        "max_steps": _max_steps(settings),
        "neftune_noise_alpha": settings.neftune_noise_alpha or None,
    }


def batches(settings: Settings, device: Any) -> dict[str, Any]:
    """Return the arguments about batches: how large, in which order, and who makes them."""
    return {
        "per_device_train_batch_size": settings.per_device_batch_size,
        "per_device_eval_batch_size": settings.per_device_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "train_sampling_strategy": "sequential",  # the examples are in the order of their epoch
        "remove_unused_columns": False,
        "dataloader_num_workers": settings.dataloader_workers,
        "dataloader_prefetch_factor": settings.dataloader_prefetch if settings.dataloader_workers else None,
        "dataloader_pin_memory": settings.dataloader_pin_memory and device.type == "cuda",
    }


def _max_steps(settings: Settings) -> int:
    if settings.debug:
        return min(settings.max_steps or DEBUG_STEPS, DEBUG_STEPS)
    return settings.max_steps or -1  # -1: as many as the epochs have


def _schedule(settings: Settings) -> dict[str, Any]:
    if settings.lr_scheduler == "polynomial":
        return {"power": settings.lr_power, "lr_end": 0.0}
    return {"num_cycles": settings.lr_cycles} if settings.lr_scheduler == "cosine_restarts" else {}
