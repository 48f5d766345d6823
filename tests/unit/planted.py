"""A tiny trained model for the tests of convert: a random base and a random adapter that changes its answers."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ollamake.files import write_json
from tests.tiny import FEED_FORWARD, HIDDEN, LAYERS

RANK = 4


def write_adapter(folder: Path, spread: float = 0.05) -> Path:
    """Write a random LoRA on the MLPs in PEFT's format; 0 makes one that changes nothing."""
    random = np.random.default_rng(1)
    shapes = {"gate_proj": (FEED_FORWARD, HIDDEN), "down_proj": (HIDDEN, FEED_FORWARD)}
    weights = {}
    for layer in range(LAYERS):
        for module, (outputs, inputs) in shapes.items():
            name = f"base_model.model.model.layers.{layer}.mlp.{module}"
            weights[f"{name}.lora_A.weight"] = random.normal(0, spread, (RANK, inputs)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = random.normal(0, spread, (outputs, RANK)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_alpha": 64, "r": RANK}
    write_json(folder / "adapter_config.json", {**config, "target_modules": list(shapes)})
    return folder


def conversation(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"What is {number} + {number * 77}, and why?"},
        {"role": "assistant", "content": "never asked"},
    ]
