"""How much of the machine training takes."""

import resource
import sys
from functools import cache
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory that this process has held at once: allocated on the GPU, else resident; in MB."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    elif STATUS.exists():
        # Not ru_maxrss, which begins at the peak of the process that started this one.
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return round(peak / 1e6, 1)


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
