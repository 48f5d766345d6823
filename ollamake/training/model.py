"""The model to train: loaded from the store as its method wants it, and saved whole."""

import shutil
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.device import computes_in_bf16
from ollamake.files import atomic_folder, require_space
from ollamake.training.adapter import moves_base, save_adapter, saved_ranks
from ollamake.training.fit import refuse_unfit
from ollamake.training.quantized import keep_differentiable, quantization
from ollamake.training.settings import Settings

SHARD = "2GB"
# The names of types in the headers of safetensors files.
STORED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def load_model(base: Base, settings: Settings, device: Any) -> Any:
    """Return the base model as a `transformers` model, without its adapter; quantized for qlora.

    Every weight that training changes is in fp32, autocast or not: what a step adds to a bfloat16 weight is mostly
    rounded away. Frozen weights are in the type that products are computed in, to which autocast would cast them at
    every step. Raises ParamsError for an adapter that does not fit the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    in_bf16 = computes_in_bf16(settings.precision, device)
    changed = settings.method == "full" or moves_base(settings)
    options: dict[str, Any] = {"dtype": torch.bfloat16 if in_bf16 and not changed else torch.float32}
    if settings.method == "qlora":
        options["quantization_config"] = quantization(settings, bf16=in_bf16)
    model = AutoModelForCausalLM.from_pretrained(base.folder, **options)
    if settings.method == "qlora":
        keep_differentiable(model)
    if settings.method != "full":
        refuse_unfit(model, settings)
    return model


def save_tuned(model: Any, base: Base, tuned: Path, weights: dict[str, Any] | None = None) -> None:
    """Write what was trained to `tuned`, whole or not at all: the adapter in PEFT's format, or the model.

    An adapter belongs to the base model as it is in the store, in full precision, even if qlora trained it beside a
    quantized one: that is what is scored, converted and proved. `weights` are those of the whole model where its
    processes have shared them out. Raises DiskError where there is no room.
    """
    require_space(tuned.parent, tuned_bytes(model, base), "the tuned model")
    with atomic_folder(tuned) as partial:
        if hasattr(model, "peft_config"):
            save_adapter(model, base.record["name"], partial, weights)
        else:
            save_whole(model, base, partial, weights)


def save_whole(model: Any, base: Base, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write every weight in the type that the base model is stored in, with the base model's own configuration.

    Its own byte for byte, because what `save_pretrained` writes holds a path of this machine.
    """
    kind, tied = stored_type(base), model.all_tied_weights_keys
    state = {
        name: weight.to(kind) if weight.is_floating_point() else weight
        for name, weight in (weights or model.state_dict()).items()
        if name not in tied
    }
    model.save_pretrained(folder, state_dict=state, max_shard_size=SHARD)
    for name in ("config.json", "generation_config.json"):
        shutil.copyfile(base.folder / name, folder / name)


def tuned_bytes(model: Any, base: Base) -> int:
    """Return how much room `save_tuned` needs."""
    if not hasattr(model, "peft_config"):
        return base.weights_bytes
    return int(4 * model.num_parameters(only_trainable=True) * saved_ranks(model))


def stored_type(base: Base) -> Any:
    """Return the torch type that most of the base model's weights are stored in, read from the headers of its files."""
    import torch
    from safetensors import safe_open

    counts: Counter[str] = Counter()
    for file in base.folder.glob("*.safetensors"):
        with safe_open(file, "np") as weights:
            for name in weights.keys():  # noqa: SIM118
                part = weights.get_slice(name)
                counts[part.get_dtype()] += prod(part.get_shape())
    return getattr(torch, STORED[counts.most_common(1)[0][0]])
