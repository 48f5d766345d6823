"""From a Hugging Face folder to GGUF, with llama.cpp's own converter."""

import mmap
import struct
import sys
from pathlib import Path
from typing import Literal

from ollamake.errors import ConversionError
from ollamake.files import read_json, write_json
from ollamake.gguf.tool import run_module

# The converter's wheel carries a `gguf` package of its own, newer than the released one: side by side in
# site-packages each overwrites the other, so it is installed apart (requirements-converter.lock).
CONVERTER = Path(sys.prefix) / "share" / "convert-hf-to-gguf"
ADD_BOS, GGUF_BOOL = b"tokenizer.ggml.add_bos_token", 7


def write_gguf(model: Path, file: Path, number_format: Literal["F16", "BF16"], *, name: str) -> None:
    """Write the model in folder `model` to `file`, under `name`. Raises ConversionError.

    The same folder gives the same bytes; no path of this machine gets into the file.
    """
    if not (CONVERTER / "convert_hf_to_gguf.py").is_file():
        raise ConversionError("llama.cpp's converter is not installed", where=str(CONVERTER), hint="`make setup`")
    arguments: list[str | Path] = [
        model.absolute(),
        "--outfile",
        file.absolute(),
        "--outtype",
        number_format.lower(),
        "--model-name",
        name,
    ]
    # The converter trusts code that a tokenizer's config points to; offline and with an empty cache there is none.
    cache = model.parent.absolute() / "no-hub-cache"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache)}
    run_module(
        "convert_hf_to_gguf", arguments, folder=model.parent, environment={"PYTHONPATH": str(CONVERTER), **offline}
    )


def declare_bos(model: Path, wanted: bool) -> None:
    """Make the converter say whether a server puts a BOS token before a prompt, where it would say nothing.

    llama.cpp takes yes for granted with a SentencePiece tokenizer. With another one the converter always says, and
    knows it by the ids of a text, which this entry would change.
    """
    if (model / "tokenizer.model").is_file():
        config = read_json(model / "tokenizer_config.json")
        write_json(model / "tokenizer_config.json", {**config, "add_bos_token": wanted})


def set_add_bos(file: Path, wanted: bool) -> None:
    """Tell the server whether it has to put a BOS token before a prompt, as training did or did not.

    The converter copies the tokenizer's flag, which speaks of plain text, not of rendered conversations.
    """
    entry = struct.pack("<Q", len(ADD_BOS)) + ADD_BOS + struct.pack("<I", GGUF_BOOL)
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as content:
        place = content.find(entry)
        if place >= 0:
            content[place + len(entry)] = wanted
