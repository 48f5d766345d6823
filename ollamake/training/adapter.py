"""The LoRA adapter: what PEFT is asked for, and what is written so that it fits the untouched base model."""

import math
from pathlib import Path
from typing import Any

from ollamake.files import read_json, write_json
from ollamake.training.settings import Settings

# Methods of PEFT that move a part of the base model's weights into the adapter before the first step.
MOVING = ("olora", "pissa")


def adapter_config(settings: Settings) -> Any:
    """Return the LoraConfig of the methods lora and qlora, None for full."""
    if settings.method == "full":
        return None
    from peft import LoraConfig

    modules = settings.lora_target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=modules if modules == "all-linear" else modules.split(),
        bias=settings.lora_bias,
        use_dora=settings.lora_dora,
        use_rslora=settings.lora_rslora,
        init_lora_weights=True if settings.lora_init == "default" else settings.lora_init,
    )


def moves_base(settings: Settings) -> bool:
    """Tell whether the adapter starts as a part of the base weights, which then lack it."""
    return settings.method != "full" and settings.lora_init.startswith(MOVING)


def prepare_adapter(model: Any, settings: Settings) -> None:
    """Make a fresh PeftModel ready to train: weights that keep small steps, and a memory of where they started.

    What is trained is kept in fp32. TRL rounds the adapter of a quantized model to bfloat16, where a step of less than
    a 256th of a weight changes nothing, and the biases of a bfloat16 model would have the same fate.
    """
    if settings.method == "full" or settings.distributed in ("fsdp", "deepspeed"):
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if moves_base(settings):
        for layer in _layers(model).values():
            layer.start = layer.lora_A["default"].weight.data.clone(), layer.lora_B["default"].weight.data.clone()


def save_adapter(model: Any, base_name: str, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the adapter in PEFT's format, to be loaded beside the untouched base model.

    `base_name` is what it says it belongs to, not a path of this machine; `weights` are those of the whole model where
    its processes have shared them out.
    """
    config = model.peft_config["default"]
    config.base_model_name_or_path = base_name
    config.target_modules = sorted(config.target_modules)  # a set, which each process would write in another order
    model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)  # LoRA adds no word
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card is an empty form
    if starts := {name: layer.start for name, layer in _layers(model).items() if hasattr(layer, "start")}:
        _add_starts(folder, starts)


def saved_ranks(model: Any) -> int:
    """Return how many times its rank an adapter takes when it is saved."""
    return 2 if any(hasattr(layer, "start") for layer in _layers(model).values()) else 1


def _layers(model: Any) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _add_starts(folder: Path, starts: dict[str, Any]) -> None:
    """Turn an adapter that is the whole of what it holds into one that is the change: B A becomes B A - B₀ A₀.

    With W the base weights, training went from W = (W - s B₀ A₀) + s B₀ A₀ to (W - s B₀ A₀) + s B A, so the change is
    of twice the rank: [B, -B₀] [A; A₀]. PEFT can do this too (`path_initial_model_for_weight_conversion`), but drops
    the magnitudes of DoRA and the biases. DoRA's magnitudes belong to the sum, which is the same.
    """
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, (down, up) in starts.items():
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        tensors[a] = torch.cat([tensors[a], down.to(tensors[a])], dim=0)
        tensors[b] = torch.cat([tensors[b], -up.to(tensors[b])], dim=1)
    save_file(tensors, file, metadata={"format": "pt"})
    config = read_json(folder / "adapter_config.json")
    # The scale stays: alpha / rank, or alpha / √rank.
    growth = math.sqrt(2) if config["use_rslora"] else 2
    changed = {"r": 2 * config["r"], "lora_alpha": growth * config["lora_alpha"], "init_lora_weights": True}
    write_json(folder / "adapter_config.json", {**config, **changed})
