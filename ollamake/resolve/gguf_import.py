"""A Hugging Face folder from a GGUF file: weights in float32, tokenizer and answers proved equal to llama.cpp's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import read_json, require_space, sha256, write_json
from ollamake.resolve.gguf_file import GgufFile, damage_told
from ollamake.resolve.gguf_rope import rope_scaling
from ollamake.resolve.gguf_tokenizer import chat_template, write_tokenizer
from ollamake.resolve.source import Origin, Record, say
from ollamake.resolve.template import try_out
from ollamake.resolve.tokenizer_parity import check_against_llama_cpp
from ollamake.resolve.weights_parity import check_weights_against_llama_cpp

# Architectures whose vocabularies `gguf_tokenizer` can rebuild, by their name in GGUF.
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
SHARD_SIZE = "4GB"
# Raise it when the same file would be imported into other bytes, so that a store made before is not reused.
IMPORT_VERSION = "2"


@dataclass(frozen=True)
class LocalGguf:
    """A GGUF file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The file's own name: a whole path would put this machine into every later stage."""
        return self.path.name

    @property
    def identity(self) -> list[str]:
        """The place, the size and the time of the file."""
        state = self.path.stat()
        return ["gguf", IMPORT_VERSION, str(self.path.resolve()), f"{state.st_size} {state.st_mtime_ns}"]

    def still_is(self, record: Record) -> bool:  # noqa: ARG002 (no other record could have this identity)
        """Always: the identity holds the state of the file."""
        return True

    def bring(self, folder: Path, downloads: Path, *, needs_template: bool = True) -> Origin:  # noqa: ARG002
        """Import the file; nothing is downloaded."""
        import_gguf(self.path, folder, needs_template=needs_template)
        gguf = GgufFile(self.path)
        digest = sha256(self.path)
        source = {"kind": "gguf", "file": self.path.name, "sha256": digest, "quantization": gguf.quantization}
        return Origin(source, f"sha256:{digest}", str(gguf.get("general.license") or "unknown"))


def import_gguf(path: Path, folder: Path, *, needs_template: bool = True) -> None:
    """Write the model of the GGUF file `path` into the empty `folder` as safetensors, tokenizer and chat template.

    Quantized weights are expanded, which brings back no lost precision. Raises BaseModelError for an architecture or a
    tokenizer that cannot be rebuilt exactly, before the weights are touched, and for weights that answer otherwise.
    """
    gguf = GgufFile(path)
    if gguf.architecture not in ARCHITECTURES:
        raise BaseModelError(
            f"has the architecture {gguf.architecture}; from GGUF only {', '.join(ARCHITECTURES)} can be imported",
            where=str(path),
            hint="set base_model to the hub id of the original model",
        )
    say(f"importing {path.name} ({gguf.quantization}): the tokenizer is rebuilt and compared with llama.cpp's")
    with damage_told(path):
        rope = rope_scaling(gguf)
        write_tokenizer(gguf, folder, needs_template=needs_template)
    if needs_template:
        try_out(chat_template(gguf), folder, str(path))
    check_against_llama_cpp(folder, path)
    require_space(folder, 4 * gguf.parameters, "expanding the GGUF to float32")
    say(f"expanding {gguf.parameters / 1e6:,.0f} million weights to float32")
    _write_weights(path, folder)
    _write_configs(gguf, folder, rope)
    check_weights_against_llama_cpp(folder, path, rounded=gguf.is_rounded)


def _write_weights(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    # `dequantize` makes plain layers; without it the model counts as quantized and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes 0600, which no other user of a shared store could read


def _write_configs(gguf: GgufFile, folder: Path, rope: dict[str, Any]) -> None:
    roles = {"bos": "bos", "eos": "eos", "pad": "padding"}
    named = {key: gguf.special_token(role) for key, role in roles.items()}
    special = {f"{key}_token_id": token[0] for key, token in named.items() if token}
    config = read_json(folder / "config.json")
    del config["transformers_version"]  # the same file gives the same bytes with the next release
    config["rope_parameters"] |= rope
    write_json(folder / "config.json", {**config, **special, "architectures": [ARCHITECTURES[gguf.architecture]]})
    write_json(folder / "generation_config.json", special)
