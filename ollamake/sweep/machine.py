"""This machine, as far as a sweep needs it: a name that says nothing of its owner, and its GPUs."""

import hashlib
import os
import platform
import sys
from contextlib import suppress

VISIBLE = "CUDA_VISIBLE_DEVICES"


def machine() -> str:
    """Return a name that tells machines apart, such as `linux-3fa2c1`."""
    return f"{sys.platform}-{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}"


def gpus() -> list[str]:
    """Return the GPUs that trials may use, as CUDA_VISIBLE_DEVICES names them; none without GPUs."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    with suppress(Exception):  # without NVIDIA's driver, or its library, there is none to share out
        import pynvml

        pynvml.nvmlInit()
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    return []


def gpu_of(slot: int) -> str | None:
    """Return the GPU for a slot, in turn; None where there are not several to choose from."""
    found = gpus()
    return found[slot % len(found)] if len(found) > 1 else None
