"""From the trained model to the GGUF files: written as F16, quantized."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ollamake.base import Base
from ollamake.files import require_space
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.quantizations import QUANTIZATIONS, QuantizationName
from ollamake.gguf.quantize import quantize
from ollamake.gguf.write import lay_out, set_add_bos, write_gguf

FILE_BYTES = 2  # a parameter in a GGUF, at most


@dataclass(frozen=True)
class Built:
    """A GGUF file and how long it took to make."""

    name: QuantizationName
    file: Path
    seconds: float


def build(
    base: Base, tuned: Path, prompts: Prompts, asked: Sequence[QuantizationName], scratch: Path, out: Path
) -> list[Built]:
    """Write the F16 file and those `asked` for, and return them: F16, then the others in their order.

    Only the files asked for are in `out`. F16 is always made, because it alone is exact enough to show a wrong
    conversion; all else but BF16 comes from it. Raises DiskError, ConversionError.
    """
    names = tuple(dict.fromkeys(("F16", *asked)))
    require_space(scratch, FILE_BYTES * len(names) * parameters(base), "merging and converting the model")
    started = time.monotonic()
    folder = scratch / "model"
    lay_out(base, folder, bos=bool(prompts.bos))
    # The file's own name of the model; the name of the folder would stand there instead.
    name = f"{base.record['name']} fine-tuned"
    built: list[Built] = []
    for quantization in names:
        file = (out if quantization in asked else scratch) / f"model-{quantization}.gguf"
        if quantization in ("F16", "BF16"):
            write_gguf(base, tuned, folder, file, quantization, name=name)
            set_add_bos(file, bool(prompts.bos))
        else:
            quantize(built[0].file, file, QUANTIZATIONS[quantization].file_type)
        built.append(Built(quantization, file, time.monotonic() - started))
        started = time.monotonic()
    return built


def parameters(base: Base) -> int:
    """Return the number of the model's parameters, read from the headers of its files."""
    from safetensors import safe_open

    count = 0
    for file in base.folder.glob("*.safetensors"):
        with safe_open(file, "np") as weights:
            count += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count
