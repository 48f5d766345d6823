"""Whether an adapter fits the base model: what PEFT would notice late, or not at all."""

from typing import Any

from ollamake.training.adapter import adapter_config, moves_base
from ollamake.training.refusal import refusal
from ollamake.training.settings import Settings


def refuse_unfit(model: Any, settings: Settings) -> None:
    """Raise ParamsError where the adapter that is asked for does not fit the base model.

    PEFT minds missing layers only when all of them are, and trains nothing in silence where there is no bias.
    """
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config, layers = adapter_config(settings), adaptable_layers(model)
    try:
        # Experts are one parameter for all of them, not layers; PEFT knows some of their names of old.
        convert_peft_config_for_transformers(config, model, conversions=None)
    except ValueError as error:  # one of two matrices that are one parameter
        raise refusal(f"lora_target_modules: {error}", "name them all, or all-linear") from error
    if config.target_modules == "all-linear":
        targeted = layers
    else:
        refuse_missing(config.target_modules, layers)
        targeted = {name: layer for name, layer in layers.items() if _last(name) in config.target_modules}
    if settings.lora_bias != "none":
        refuse_without_bias(model, targeted, settings.lora_bias)
    if config.target_parameters:
        refuse_for_experts(settings)
    if moves_base(settings):
        refuse_immovable(targeted, settings)


def adaptable_layers(model: Any) -> dict[str, Any]:
    """Return the layers that can have an adapter, by name: quantized ones, too, and the Conv1D of GPT-2.

    The output layer is one of them only if it is not the embedding as well: merged into it, an adapter changes both.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    embedding = model.get_input_embeddings().weight
    linear = {name: module for name, module in model.named_modules() if isinstance(module, Linear | Conv1D)}
    return {name: layer for name, layer in linear.items() if layer.weight is not embedding}


def refuse_missing(modules: set[str], layers: dict[str, Any]) -> None:
    """Raise ParamsError when a name fits no layer."""
    names = {_last(name) for name in layers}
    if missing := sorted(modules - names):
        raise refusal(
            f"lora_target_modules: the base model has no layer named {', '.join(missing)} that can have an adapter",
            f"all-linear, or some of: {' '.join(sorted(names))} (with spaces between)",
        )


def refuse_without_bias(model: Any, targeted: dict[str, Any], bias: str) -> None:
    """Raise ParamsError when biases shall be trained and there are none."""
    anywhere = any(_last(name) == "bias" for name, _ in model.named_parameters())
    if not anywhere:
        raise refusal(f"lora_bias: {bias}, but the base model has no biases", "`dvc exp run -S lora_bias=none`")
    if bias == "lora_only" and all(layer.bias is None for layer in targeted.values()):
        raise refusal(
            "lora_bias: lora_only, but the layers with an adapter have no biases", "`dvc exp run -S lora_bias=all`"
        )


def refuse_for_experts(settings: Settings) -> None:
    """Raise ParamsError for what PEFT cannot do to the experts of a mixture: they are one parameter."""
    impossible = {
        "lora_dropout=0.0": settings.lora_dropout > 0,
        "lora_dora=false": settings.lora_dora,
        "lora_init=default": settings.lora_init not in ("default", "gaussian"),
        "method=lora": settings.method == "qlora",
    }
    if changes := [change for change, wrong in impossible.items() if wrong]:
        raise refusal(
            f"{', '.join(change.partition('=')[0] for change in changes)}: not possible for an adapter on the experts "
            "of this base model",
            f"`dvc exp run {' '.join(f'-S {change}' for change in changes)}`, or name the layers of the attention in "
            "lora_target_modules",
        )


def refuse_immovable(targeted: dict[str, Any], settings: Settings) -> None:
    """Raise ParamsError when the adapter cannot start as a part of the weights."""
    from transformers.pytorch_utils import Conv1D

    if settings.lora_init == "olora" and any(isinstance(layer, Conv1D) for layer in targeted.values()):
        raise refusal(  # PEFT 0.21 forgets that they are stored the other way round
            "lora_init: olora does not work with the Conv1D layers of this base model",
            "`dvc exp run -S lora_init=pissa`",
        )
    sizes = {name: min(layer.weight.shape) for name, layer in targeted.items()}
    smallest = min(sizes, key=sizes.__getitem__)
    if settings.lora_rank > sizes[smallest]:
        raise refusal(
            f"lora_rank: {settings.lora_rank}, but lora_init: {settings.lora_init} takes the adapter out of the "
            f"weights, and those of {smallest} have {sizes[smallest]} dimensions",
            f"`dvc exp run -S lora_rank={sizes[smallest]}`, or `-S lora_init=default`",
        )


def _last(name: str) -> str:
    return name.rpartition(".")[2]
