"""The trained model. Not in `model`, so that the scores of the base model do not depend on it."""

from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.device import Precision
from ollamake.quiet import quiet_loading
from ollamake.scoring.model import load_model


def load_tuned(base: Base, tuned: Path, precision: Precision) -> Any:
    """Return the model of the folder `tuned`: the base model with the adapter in it, or the whole model in it.

    The adapter stays beside the weights, not merged into them: as it was trained.
    """
    if not (tuned / "adapter_config.json").is_file():
        return load_model(tuned, precision)
    with quiet_loading():
        from peft import PeftModel

        return PeftModel.from_pretrained(load_model(base.folder, precision), tuned).eval()
