"""The adapter and its base model, joined into one folder of plain weights."""

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


def load_trained(base: Base, adapter: Path) -> Any:
    """Return base model and adapter, not merged, in fp32 on the CPU. Raises ConversionError where they do not fit."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
        try:
            return PeftModel.from_pretrained(model, adapter).eval()
        except (ValueError, RuntimeError) as error:
            raise _unfit(adapter, error) from error


def merge(base: Base, adapter: Path, into: Path) -> None:
    """Write the merged fp32 model with the base model's tokenizer and template. Raises ConversionError.

    Merged in fp32, because adding a small update to bf16 weights rounds much of it away.
    """
    try:
        merged = load_trained(base, adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:  # NaN in the adapter
        raise _unfit(adapter, error) from error
    merged.save_pretrained(into, max_shard_size="2GB")
    for file in base.folder.iterdir():
        if file.suffix in COPIED_SUFFIXES and not file.name.endswith(".index.json"):
            shutil.copyfile(file, into / file.name)
    template = into / "chat_template.jinja"
    template.write_text(without_clock(template.read_text(encoding="utf-8")), encoding="utf-8", newline="")


def _unfit(adapter: Path, error: Exception) -> ConversionError:
    return ConversionError(
        f"cannot be merged: {error}", where=str(adapter), hint="`dvc repro --force --single-item train`"
    )
