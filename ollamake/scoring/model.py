"""The model to score: loaded from its folder, and computing in the project's precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ollamake.device import Precision, computes_in_bf16, pick_device, weights_dtype
from ollamake.quiet import quiet_loading


def load_model(folder: Path, precision: Precision) -> Any:
    """Return the model in `folder` as a `transformers` model on the first GPU, else the CPU."""
    from transformers import AutoModelForCausalLM

    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=weights_dtype(precision, pick_device()))
    return model.to(pick_device()).eval()


@contextmanager
def computing(model: Any, precision: Precision) -> Iterator[None]:
    """Compute without gradients, in bfloat16 where `precision` and the hardware say so."""
    import torch

    # Autocast keeps its bfloat16 copy of a weight only if that could need a gradient. Without the copies it casts the
    # whole model again for every token; an adapter's base model, frozen by PEFT, then took twice the time.
    model.requires_grad_(True)
    in_bf16 = computes_in_bf16(precision, model.device)
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=in_bf16):
        yield
