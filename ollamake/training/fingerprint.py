"""Which training a checkpoint belongs to: one name for everything that decides the result."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ollamake.base import Base
from ollamake.files import sha256
from ollamake.pins import PINS
from ollamake.training.settings import Settings

# How often, by which helpers and how well watched it is trained, but not what comes out.
WITHOUT_INFLUENCE = {
    "checkpoint_seconds",
    "dataloader_pin_memory",
    "dataloader_prefetch",
    "dataloader_workers",
    "profile",
    "report_to",
}
# Libraries that decide numbers: those of pins.yaml, and those that bring kernels of their own where they are installed.
LIBRARIES = (
    *("accelerate", "bitsandbytes", "deepspeed", "flash-attn", "liger-kernel", "numpy", "peft", "safetensors"),
    *("torch", "transformers", "triton", "trl"),
)
ROOT = Path(__file__).parents[2]


def fingerprint(base: Base, tokens: Iterable[Path], settings: Settings) -> str:
    """Return 32 hex digits that are others for other settings, token files, base model, pins, libraries or code."""
    deciding = {
        "settings": settings.model_dump(exclude=WITHOUT_INFLUENCE),
        "tokens": [sha256(file) for file in tokens],
        "base": base.record,
        "pins": sha256(PINS),
        "libraries": versions(),
        "code": {str(file.relative_to(ROOT)): sha256(file) for file in code()},
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """Return the version of each library that decides numbers and is installed, with its build (`2.13.0+cpu`)."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def code() -> list[Path]:
    """Return the files of this package, of the stage, and of what both compute with."""
    return [*sorted(Path(__file__).parent.glob("*.py")), ROOT / "ollamake/device.py", ROOT / "stages/train.py"]
