"""A model whose layers hold their weights only while they run: the memory is that of the largest layer."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ollamake.gguf.merge import WRAPPED, TrainedWeights
from ollamake.gguf.whole import add_adapter
from ollamake.quiet import quiet_loading


def load_layerwise(weights: TrainedWeights, tuned: Path) -> Any:
    """Return the trained model in fp32, an adapter not merged, or None unless every weight has one name in the files.

    Where config.json ties two matrices that the files both have, only transformers knows what becomes of them. Raises
    ConversionError for an adapter that does not fit.
    """
    model = _hollow(weights.folder)
    named = Counter(one for name, one in model.named_parameters(remove_duplicate=False) if name in weights.stored)
    if any(named[parameter] != 1 for parameter in model.parameters()):
        return None
    if weights.adapted:
        model = add_adapter(model, tuned).get_base_model()
    names = stored_names(model, weights)
    for layer in _layers(model):
        _let_go(layer, {parameter: names[parameter] for parameter in layer.parameters() if parameter in names}, weights)
    return model.eval()


def stored_names(model: Any, weights: TrainedWeights) -> dict[Any, str]:
    """Return the parameters that have a weight in the files, with its name; a tied one has that of its other half."""
    plain = ((name.replace(WRAPPED, "."), one) for name, one in model.named_parameters(remove_duplicate=False))
    return {parameter: name for name, parameter in plain if name in weights.stored}


def _hollow(folder: Path) -> Any:
    """Return the model in `folder` without its weights: a matrix is one number, which stands for all.

    They are on the CPU, as PEFT wants them, and so are the few numbers that no file holds (of rotary embeddings).
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet_loading():
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
        model.tie_weights()
    empty: dict[Any, Any] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            # An adapter writes the biases that it brings, so each has numbers of its own.
            hollow = torch.zeros(1).expand(parameter.shape) if parameter.dim() > 1 else torch.zeros(parameter.shape)
            setattr(module, name, empty.setdefault(parameter, torch.nn.Parameter(hollow, requires_grad=False)))
    return model


def _layers(module: Any) -> Iterator[Any]:
    """Yield what is to be filled as one: the blocks of the model, and the modules with weights outside of them."""
    from torch.nn import ModuleList

    for child in module.children():
        if isinstance(module, ModuleList) or list(child.parameters(recurse=False)) or hasattr(child, "base_layer"):
            yield child
        else:
            yield from _layers(child)


def _let_go(layer: Any, names: dict[Any, str], weights: TrainedWeights) -> None:
    """Make `layer` read its weights when it begins, and let go of them when it has ended."""
    empty = {parameter: parameter.data for parameter in names}

    def fill(*_: Any) -> None:
        for parameter, name in names.items():
            parameter.data = weights.read_unmerged(name).float()

    def drop(*_: Any) -> None:
        for parameter, hollow in empty.items():
            parameter.data = hollow

    layer.register_forward_pre_hook(fill)
    layer.register_forward_hook(drop, always_call=True)
