"""The trained model as one folder of plain weights: an adapter joined with its base model, or the whole model."""

import shutil
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.errors import ConversionError
from ollamake.gguf.prompts import without_clock
from ollamake.quiet import quiet_loading

# Copied byte for byte, never saved anew: what `save_pretrained` writes holds local paths, and a tokenizer that went
# through another library version may split text in another way. No code and no model card.
COPIED_SUFFIXES = {".json", ".jinja", ".model", ".txt"}


def load_trained(base: Base, tuned: Path) -> Any:
    """Return the trained model in fp32 on the CPU, an adapter not merged. Raises ConversionError if it does not fit."""
    import torch
    from transformers import AutoModelForCausalLM

    adapted = (tuned / "adapter_config.json").is_file()
    with quiet_loading():
        from peft import PeftModel

        try:
            model = AutoModelForCausalLM.from_pretrained(base.folder if adapted else tuned, dtype=torch.float32).eval()
            return PeftModel.from_pretrained(model, tuned).eval() if adapted else model
        except (ValueError, RuntimeError) as error:
            raise _unfit(tuned, str(error)) from error


def merge(base: Base, tuned: Path, into: Path) -> None:
    """Write the trained model as plain fp32 weights with the base model's tokenizer and template.

    Merged in fp32, because adding a small update to bf16 weights rounds much of it away. Raises ConversionError.
    """
    model = load_trained(base, tuned)
    merged = model.merge_and_unload() if hasattr(model, "peft_config") else model
    if not all(weight.isfinite().all() for weight in merged.parameters()):
        raise _unfit(tuned, "some of its weights are no numbers")
    merged.save_pretrained(into, max_shard_size="2GB")
    for file in base.folder.iterdir():
        if file.suffix in COPIED_SUFFIXES and not file.name.endswith(".index.json"):
            shutil.copyfile(file, into / file.name)
    template = into / "chat_template.jinja"
    template.write_text(without_clock(template.read_text(encoding="utf-8")), encoding="utf-8", newline="")


def _unfit(tuned: Path, problem: str) -> ConversionError:
    return ConversionError(
        f"cannot be merged: {problem}", where=str(tuned), hint="`dvc repro --force --single-item train`"
    )
