"""The settings of a training on tiny models: those of params.yaml but for what would take long."""

from ollamake import params
from stages.train import Params
from tests.contract.graph import ROOT

TINY = {
    "gradient_accumulation_steps": 1,
    "keep_best": 0,
    "learning_rate": 0.01,
    "lora_alpha": 8,
    "lora_rank": 4,
    "lr_scheduler": "linear",
    "max_steps": 3,
    "num_epochs": 5,
    "per_device_batch_size": 8,
    "precision": "fp32",
    "val_samples": 0,
    "warmup_ratio": 0.0,
}


def settings(**changes: object) -> Params:
    """Return the settings with those of `changes`."""
    return params.select(Params, {**params.read(ROOT / "params.yaml"), **TINY, **changes})
