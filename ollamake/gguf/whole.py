"""The trained model with all its weights in memory, for models that transformers takes apart or joins when it loads."""

from pathlib import Path
from typing import Any

from ollamake.files import require_space
from ollamake.gguf.merge import ADAPTER_CONFIG, unfit
from ollamake.quiet import quiet_loading

MERGED_BYTES = 4  # a parameter, in fp32


def load_trained(base: Path, tuned: Path) -> Any:
    """Return the trained model in fp32 on the CPU, an adapter not merged. Raises ConversionError if it does not fit."""
    import torch
    from transformers import AutoModelForCausalLM

    adapted = (tuned / ADAPTER_CONFIG).is_file()
    with quiet_loading():
        try:
            model = AutoModelForCausalLM.from_pretrained(base if adapted else tuned, dtype=torch.float32).eval()
            return add_adapter(model, tuned).eval() if adapted else model
        except (ValueError, RuntimeError) as error:
            raise unfit(tuned, str(error)) from error


def add_adapter(model: Any, tuned: Path) -> Any:
    """Return the PeftModel of a model and the adapter in `tuned`. Raises ConversionError if it does not fit."""
    with quiet_loading():
        from peft import PeftModel

        try:
            return PeftModel.from_pretrained(model, tuned)
        except (ValueError, RuntimeError) as error:
            raise unfit(tuned, str(error)) from error


def save_merged(base: Path, tuned: Path, into: Path) -> None:
    """Write the weights of the trained model, its adapter merged, into a folder that has all else already.

    Four bytes a parameter in memory and on disk. Raises ConversionError, DiskError.
    """
    merged = load_trained(base, tuned).merge_and_unload()
    if not all(weight.isfinite().all() for weight in merged.parameters()):
        raise unfit(tuned, "some of its weights are no numbers")
    require_space(into, MERGED_BYTES * merged.num_parameters(), "merging the model")
    own = {name: (into / name).read_bytes() for name in ("config.json", "generation_config.json")}
    merged.save_pretrained(into, max_shard_size="2GB")
    for name, content in own.items():  # what it writes holds local paths
        (into / name).write_bytes(content)
