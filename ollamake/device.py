"""Where the numbers are computed, and in which precision."""

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def pick_device() -> torch.device:
    """Return the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_dtype(precision: Precision, device: torch.device) -> torch.dtype | Literal["auto"]:
    """Return the type to load weights in: as they are stored where bfloat16 is computed in, else full precision."""
    return "auto" if computes_in_bf16(precision, device) else torch.float32


def computes_in_bf16(precision: Precision, device: torch.device) -> bool:
    """Tell whether matrix products run in bfloat16: as asked, or for `auto` where the hardware has instructions."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
