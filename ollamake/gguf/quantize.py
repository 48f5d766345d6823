"""From an F16 GGUF to a smaller one, with llama.cpp's own quantizer."""

import sys
from pathlib import Path

from ollamake.gguf.tool import PACKAGE_ROOT, run_module


def quantize(source: Path, target: Path, file_type: int) -> None:
    """Write `source` to `target` with llama.cpp's number format `file_type`. Raises ConversionError.

    The same source gives the same bytes. Where a row does not divide into blocks of 256, llama.cpp falls back
    to formats with blocks of 32, so a small model's Q4_K_M is mostly Q5_0 and larger than its name says.
    """
    arguments: list[str | Path] = [source.absolute(), target.absolute(), str(file_type)]
    module, tool = "ollamake.gguf.quantize", "llama.cpp's quantizer"
    run_module(module, arguments, tool=tool, folder=PACKAGE_ROOT, environment={})


def main(source: str, target: str, file_type: str) -> None:
    """Quantize in this process: llama.cpp ends it where something in the file surprises it."""
    from cyllama.llama import llama_cpp

    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype = int(file_type)
    llama_cpp.model_quantize(source, target, params)


if __name__ == "__main__":
    main(*sys.argv[1:])
