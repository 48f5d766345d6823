"""bitsandbytes: the quantized base model of qlora and the optimizers with small states, where they can run."""

import logging
import sys
from importlib.util import find_spec
from typing import Any

from ollamake.quiet import quiet_loading
from ollamake.training.refusal import refusal
from ollamake.training.settings import Settings

# CUDA compute capability from which bitsandbytes has kernels: its installation page.
OLDEST_GPU = {4: (6, 0), 8: (7, 5)}
INSTALL = "`pip install bitsandbytes==0.50.2` in .venv"


def refuse_unable(settings: Settings) -> None:
    """Raise ParamsError for a method or an optimizer that this machine or this installation cannot run.

    Imports nothing heavy, and looks at no hardware, unless bitsandbytes is asked for.
    """
    if not (wishes := _wishes(settings)):
        return
    what, way_out = wishes[0]
    if find_spec("bitsandbytes") is None:
        raise refusal(f"{what} needs the package bitsandbytes, which is not installed", f"{INSTALL}, or {way_out}")
    import torch

    if torch.cuda.is_available():
        refuse_old_gpu(settings, torch.cuda.get_device_capability(), bf16=torch.cuda.is_bf16_supported(False))
    elif settings.optimizer.startswith("paged"):
        raise refusal(
            f"optimizer: {settings.optimizer} moves its states out of a GPU's memory, and there is no GPU here",
            f"`dvc exp run -S optimizer={settings.optimizer.removeprefix('paged_')}` takes the same steps",
        )
    if broken := _broken():
        raise refusal(f"{what} needs bitsandbytes, which does not load here: {broken}", way_out)


def leave_out(settings: Settings) -> None:
    """Hide bitsandbytes from the libraries where nothing asks for it: PEFT alone takes a second to import it."""
    if not _wishes(settings):
        sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def refuse_old_gpu(settings: Settings, capability: tuple[int, int], *, bf16: bool) -> None:
    """Raise ParamsError for what a GPU of this compute capability has no instructions for."""
    if settings.method != "qlora":
        return
    if capability < OLDEST_GPU[settings.qlora_bits]:
        raise refusal(
            f"qlora_bits: {settings.qlora_bits} needs a GPU of compute capability "
            f"{'.'.join(map(str, OLDEST_GPU[settings.qlora_bits]))}, this one has {'.'.join(map(str, capability))}",
            "`dvc exp run -S method=lora`" if capability < OLDEST_GPU[4] else "`dvc exp run -S qlora_bits=4`",
        )
    if settings.qlora_compute == "bf16" and not bf16:
        raise refusal("qlora_compute: this GPU has no bfloat16", "`dvc exp run -S qlora_compute=fp16`")


def quantization(settings: Settings, *, bf16: bool) -> Any:
    """Return the BitsAndBytesConfig of qlora; `bf16` tells whether training computes in bfloat16.

    Eight bits have neither a type nor a compute type to choose.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if settings.qlora_bits == 8:
        # It says with every product that it casts the input.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    kinds = {
        "auto": torch.bfloat16 if bf16 else torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp32": torch.float32,
    }
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.qlora_type,
        bnb_4bit_use_double_quant=settings.qlora_double_quant,
        bnb_4bit_compute_dtype=kinds[settings.qlora_compute],
    )


def keep_differentiable(model: Any) -> None:
    """Keep the 4-bit layers of `model` from being packed anew on a CPU.

    bitsandbytes 0.50 does so, for good, at the first forward pass in evaluation mode on a CPU with AVX512-BF16; the
    product that reads such weights has no gradient, and training after a validation would learn next to nothing.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _wishes(settings: Settings) -> list[tuple[str, str]]:
    """Return each parameter that asks for bitsandbytes, with what does without."""
    wishes = []
    if settings.method == "qlora":
        way_out = "`dvc exp run -S method=lora` trains the same adapter beside the base model as it is"
        wishes.append(("method: qlora", way_out))
    if settings.optimizer in ("adamw_8bit", "paged_adamw", "paged_adamw_8bit"):
        way_out = "`dvc exp run -S optimizer=adamw` does the same with more memory"
        wishes.append((f"optimizer: {settings.optimizer}", way_out))
    return wishes


def _broken() -> str:
    """Return why the library cannot be called, empty if it can: bitsandbytes itself says so only at the first call."""
    try:
        with quiet_loading():
            from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib
    except (ImportError, OSError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return str(lib.error_msg).splitlines()[0] if isinstance(lib, ErrorHandlerMockBNBNativeLibrary) else ""
