"""The trained model: the base model with its adapter. Not in `model`, so that the base scores do not depend on it."""

from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.device import Precision
from ollamake.quiet import quiet_loading
from ollamake.scoring.model import load_model


def load_tuned(base: Base, adapter: Path, precision: Precision) -> Any:
    """Return the base model with the adapter beside its weights, not merged into them: as it was trained."""
    from peft import PeftModel

    with quiet_loading():
        return PeftModel.from_pretrained(load_model(base, precision), adapter).eval()
