"""The trained model as one folder of plain weights: an adapter joined with its base model, or the whole model."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.errors import ConversionError
from ollamake.gguf.prompts import without_clock
from ollamake.gguf.shards import Stored, read_shard, write_shard
from ollamake.quiet import quiet_loading

# Copied byte for byte, never saved anew: what `save_pretrained` writes holds local paths, and a tokenizer that went
# through another library version may split text in another way. No code and no model card.
COPIED_SUFFIXES = {".json", ".jinja", ".model", ".txt"}
INDEX = ".index.json"


def load_trained(base: Base, tuned: Path) -> Any:
    """Return the trained model in fp32 on the CPU, an adapter not merged. Raises ConversionError if it does not fit."""
    import torch
    from transformers import AutoModelForCausalLM

    adapted = _is_adapter(tuned)
    with quiet_loading():
        from peft import PeftModel

        try:
            model = AutoModelForCausalLM.from_pretrained(base.folder if adapted else tuned, dtype=torch.float32).eval()
            return PeftModel.from_pretrained(model, tuned).eval() if adapted else model
        except (ValueError, RuntimeError) as error:
            raise _unfit(tuned, str(error)) from error


def merge(base: Base, tuned: Path, into: Path) -> None:
    """Write the trained model as plain weights with the base model's tokenizer and template.

    What an adapter changes is merged and written in fp32, because adding a small update to bf16 weights rounds much of
    it away; all else stays as it is stored. Raises ConversionError.
    """
    into.mkdir()
    for file in base.folder.iterdir():
        if file.suffix in COPIED_SUFFIXES and not file.name.endswith(INDEX):
            shutil.copyfile(file, into / file.name)
    template = into / "chat_template.jinja"
    template.write_text(without_clock(template.read_text(encoding="utf-8")), encoding="utf-8", newline="")
    if not _is_adapter(tuned):
        _write(tuned, into, {}, tuned)
        return
    skeleton = _skeleton(base, tuned)
    layers = _adapted_layers(skeleton)
    stored = {name for file in base.folder.glob("*.safetensors") for name in read_shard(file)}
    if {*layers, *_replaced(skeleton)} <= stored:
        _write(base.folder, into, {**_replaced(skeleton), **layers}, tuned)
    else:  # experts that transformers joins when it loads them, or names of its own
        _merge_in_memory(base, tuned, into)


def _is_adapter(tuned: Path) -> bool:
    return (tuned / "adapter_config.json").is_file()


def _skeleton(base: Base, tuned: Path) -> Any:
    """Return the model with its adapter, whose weights alone are there.

    The matrices of the base model are one number each, which stands for all: on the CPU, as PEFT wants them, and
    without memory. Other parameters are NaN until the adapter brings them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet_loading():
        from peft import PeftModel

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base.folder), dtype=torch.float32)
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                matrix = parameter.dim() > 1
                hollow = torch.zeros(1).expand(parameter.shape) if matrix else torch.full(parameter.shape, torch.nan)
                setattr(module, name, torch.nn.Parameter(hollow, requires_grad=False))
        try:
            return PeftModel.from_pretrained(model, tuned)
        except (ValueError, RuntimeError) as error:
            raise _unfit(tuned, str(error)) from error


def _adapted_layers(skeleton: Any) -> dict[str, Any]:
    """Return the layers with an adapter, by the name that their weight has in the base model's files."""
    from peft.tuners.lora import LoraLayer

    model = skeleton.get_base_model()
    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def _replaced(skeleton: Any) -> dict[str, Any]:
    """Return the parameters that the adapter brings whole, which are biases, by their names in the files."""
    return {
        name.replace(".base_layer.", "."): parameter.data
        for name, parameter in skeleton.get_base_model().named_parameters()
        if parameter.dim() == 1 and ".lora_" not in name and not parameter.isnan().any()
    }


def _write(source: Path, into: Path, changes: dict[str, Any], tuned: Path) -> None:
    """Write every shard of `source` into the folder `into`, with tensors replaced or layers merged as `changes` has it.

    Raises ConversionError for a number that is none.
    """
    for file in sorted(source.glob("*.safetensors")):
        stored = read_shard(file)
        kinds = {name: ("F32" if name in changes else entry.kind, entry.shape) for name, entry in stored.items()}
        write_shard(into / file.name, kinds, _tensors(stored, changes, tuned))
    for index in source.glob(f"*{INDEX}"):
        shutil.copyfile(index, into / index.name)


def _tensors(stored: dict[str, Stored], changes: dict[str, Any], tuned: Path) -> Iterator[Any]:
    for name, entry in stored.items():
        tensor = _changed(entry.read(), changes[name]) if name in changes else entry.read()
        if not tensor.isfinite().all():
            raise _unfit(tuned, "some of its weights are no numbers")
        yield tensor


def _changed(tensor: Any, change: Any) -> Any:
    """Return a tensor that takes the place of another, or a weight with its layer's adapter merged into it."""
    import torch

    if isinstance(change, torch.Tensor):
        return change.float()
    layer = change.get_base_layer()
    empty = layer.weight
    layer.weight = torch.nn.Parameter(tensor.float(), requires_grad=False)
    with torch.no_grad():
        change.merge()
    merged, layer.weight = layer.weight.data, empty
    return merged


def _merge_in_memory(base: Base, tuned: Path, into: Path) -> None:
    """Merge a model that takes its tensors apart or together when it is loaded; four bytes a parameter in memory."""
    merged = load_trained(base, tuned).merge_and_unload()
    if not all(weight.isfinite().all() for weight in merged.parameters()):
        raise _unfit(tuned, "some of its weights are no numbers")
    config = (into / "config.json").read_bytes()
    merged.save_pretrained(into, max_shard_size="2GB")
    (into / "config.json").write_bytes(config)
    shutil.copyfile(base.folder / "generation_config.json", into / "generation_config.json")


def _unfit(tuned: Path, problem: str) -> ConversionError:
    return ConversionError(
        f"cannot be merged: {problem}", where=str(tuned), hint="`dvc repro --force --single-item train`"
    )
