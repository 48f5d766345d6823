"""The weights are those of the model that config.json describes, by the names and shapes that transformers expects."""

from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.resolve.weights import read_tensors

# transformers joins the tensors of their experts while it loads them, so that their names say nothing here.
JOINED = ("MixtralForCausalLM",)
OUTPUT = "lm_head.weight"  # absent where it is the embedding; `check_weights` has looked at it


def check_architecture_fits(folder: Path) -> None:
    """Raise BaseModelError for a tensor that is missing in all layers, or has another shape in all of them.

    transformers would fill it with random numbers, with a warning.
    """
    tensors = {name: tensor.shape for name, tensor in read_tensors(folder).items()}
    expected = _shapes(folder)
    wrong = [name for name in sorted(expected) if name in tensors and tensors[name] != expected[name]]
    if wrong:
        name = wrong[0]
        raise _other_model(folder, f"{name} has the shape {tensors[name]}, config.json means {expected[name]}")
    missing = sorted(expected.keys() - tensors.keys() - {OUTPUT})
    if missing and read_json(folder / "config.json")["architectures"][0] not in JOINED:
        raise _other_model(folder, f"{missing[0]} is missing ({len(missing)} such tensors)")


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):  # names and shapes only, whatever the size
            model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except Exception as error:
        raise BaseModelError(
            f"transformers cannot build the model: {error}", where=str(folder / "config.json"), hint="bring it again"
        ) from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _other_model(folder: Path, problem: str) -> BaseModelError:
    return BaseModelError(
        problem,
        where=str(folder),
        hint="config.json and weights are of different models, or incomplete: bring them again",
    )
