"""From the trained model to GGUF, with llama.cpp's own converter, which is given merged weights as it reads them."""

import importlib
import mmap
import runpy
import shutil
import struct
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ollamake.base import Base
from ollamake.errors import ConversionError
from ollamake.files import read_json, write_json
from ollamake.gguf.header import read_header
from ollamake.gguf.merge import TrainedWeights
from ollamake.gguf.prompts import without_clock
from ollamake.gguf.shards import read_shard
from ollamake.gguf.tool import PACKAGE_ROOT, refusing, run_module
from ollamake.gguf.whole import save_merged

# The converter's wheel carries a `gguf` package of its own, newer than the released one: side by side in
# site-packages each overwrites the other, so it is installed apart (requirements-converter.lock).
CONVERTER = Path(sys.prefix) / "share" / "convert-hf-to-gguf"
SCRIPT = "convert_hf_to_gguf"
# Copied byte for byte, never saved anew: what `save_pretrained` writes holds local paths, and a tokenizer that went
# through another library version may split text in another way. No code and no model card.
COPIED_SUFFIXES = {".json", ".jinja", ".model", ".txt"}
INDEX = ".index.json"
ADD_BOS, GGUF_BOOL = b"tokenizer.ggml.add_bos_token", 7


def lay_out(base: Base, folder: Path, *, bos: bool) -> None:
    """Make the folder that the converter reads, but for the weights.

    It says whether a server puts a BOS token before a prompt, where the converter would say nothing: llama.cpp takes
    yes for granted with a SentencePiece tokenizer. With another one the converter always says, and knows it by the ids
    of a text, which this entry would change.
    """
    folder.mkdir()
    for file in base.folder.iterdir():
        if file.suffix in COPIED_SUFFIXES and not file.name.endswith(INDEX):
            shutil.copyfile(file, folder / file.name)
    template = folder / "chat_template.jinja"
    template.write_text(without_clock(template.read_text(encoding="utf-8")), encoding="utf-8", newline="")
    if (folder / "tokenizer.model").is_file():
        config = read_json(folder / "tokenizer_config.json")
        write_json(folder / "tokenizer_config.json", {**config, "add_bos_token": bos})


def write_gguf(
    base: Base, tuned: Path, folder: Path, file: Path, number_format: Literal["F16", "BF16"], *, name: str
) -> None:
    """Write the model that was trained to `tuned` to `file`, under `name`. Raises ConversionError, DiskError.

    `folder` is laid out. The same inputs give the same bytes; no path of this machine gets into the file.
    """
    if not (CONVERTER / f"{SCRIPT}.py").is_file():
        raise ConversionError("llama.cpp's converter is not installed", where=str(CONVERTER), hint="`make setup`")
    folders = [path.absolute() for path in (base.folder, tuned, folder)]
    options = ["--outfile", str(file.absolute()), "--outtype", number_format.lower(), "--model-name", name]
    run_module(
        "ollamake.gguf.write",
        [*folders, *options],
        tool="llama.cpp's converter",
        folder=PACKAGE_ROOT,
        environment=converter_environment(folder),
    )


def converter_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which the converter runs: it finds its own modules, and no hub.

    It trusts code that a tokenizer's config points to; offline and with an empty cache in `folder` there is none.
    """
    cache = str(folder.absolute() / "no-hub-cache")
    return {"PYTHONPATH": str(CONVERTER), "HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HF_HUB_CACHE": cache}


def set_add_bos(file: Path, wanted: bool) -> None:
    """Tell the server whether it has to put a BOS token before a prompt, as training did or did not.

    The converter copies the tokenizer's flag, which speaks of plain text, not of rendered conversations.
    """
    entry = struct.pack("<Q", len(ADD_BOS)) + ADD_BOS + struct.pack("<I", GGUF_BOOL)
    front = min(tensor.offset for tensor in read_header(file).tensors)  # where there is none, all would be searched
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), front) as content:
        place = content.find(entry)
        if place >= 0:
            content[place + len(entry)] = wanted


def main(base: str, tuned: str, model: str, *options: str) -> None:
    """Run the converter in this process on the folder `model`, whose weights are those of the trained model."""
    weights, folder = TrainedWeights(Path(base), Path(tuned)), Path(model)
    if weights.by_name:
        for file in (*weights.folder.glob("*.safetensors"), *weights.folder.glob(f"*{INDEX}")):
            if not (folder / file.name).exists():  # left by the run that wrote another number format
                (folder / file.name).symlink_to(file)
        # The converter looks this up whenever it opens a file of weights (ModelBase.index_tensors).
        utility: Any = importlib.import_module("gguf.utility")
        utility.SafetensorsLocal = partial(_shard, weights)
    elif not list(folder.glob("*.safetensors")):
        save_merged(Path(base), Path(tuned), folder)
    sys.argv = [SCRIPT, model, *options]
    runpy.run_module(SCRIPT, run_name="__main__")


@dataclass(frozen=True)
class Merged:
    """A weight as the converter wants it (gguf.utility.LocalTensor): read when its bytes are asked for."""

    weights: TrainedWeights
    name: str

    @property
    def dtype(self) -> str:
        """The number format, as safetensors calls it."""
        return self.weights.kind(self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.weights.stored[self.name].shape

    def mmap_bytes(self) -> Any:
        """Return the numbers as bytes, in numpy's memory."""
        import torch

        return self.weights.read(self.name).reshape(-1).view(torch.uint8).numpy()


def _shard(weights: TrainedWeights, file: Path) -> AbstractContextManager[dict[str, Merged]]:
    """Return the weights of one file in the order in which the converter would have them."""
    return nullcontext({name: Merged(weights, name) for name in sorted(read_shard(file))})


if __name__ == "__main__":
    with refusing():
        main(*sys.argv[1:])
