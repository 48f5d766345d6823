"""How much of the machine training takes."""

from functools import cache

import torch

from ollamake.peak import resident_peak_mb


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory that this process has held at once: allocated on the GPU, else resident; in MB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return resident_peak_mb()


def gpu_percent(device: torch.device) -> dict[str, int]:
    """Return how busy the GPU was over the last moments, as `gpu_percent`; nothing where nobody can tell."""
    return {"gpu_percent": torch.cuda.utilization(device)} if device.type == "cuda" and _can_tell() else {}


@cache
def _can_tell() -> bool:
    try:
        torch.cuda.utilization()
    except Exception:  # noqa: BLE001 - no NVML, no right to ask it, or a GPU of another make: each raises its own
        return False
    return True
