"""What is refused before any big download: remote code, pickled weights, architectures that end nowhere."""

import json
import re
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.resolve.computable import check_computable
from ollamake.resolve.template import own_template, try_out

# Every one of these has a native class in transformers (no remote code) and a converter to GGUF in llama.cpp.
ARCHITECTURES = (
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
SMALL_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
    "model.safetensors.index.json",
)
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
REQUIRED = ("config.json", "tokenizer.json", "tokenizer_config.json")
AGAIN = "the file is damaged, or of something else: bring the model again from where it came"
SIZES = ("hidden_size", "max_position_embeddings", "num_hidden_layers", "vocab_size")


def select(names: list[str], where: str) -> tuple[list[str], list[str]]:
    """Return the small files and the weights worth taking from a folder or a hub repository.

    Raises BaseModelError when weights exist only in formats that run code when they are loaded, or files are missing.
    """
    weights = sorted(filter(WEIGHTS.fullmatch, names))
    pickled = [name for name in names if name.endswith(PICKLES)]
    if not weights and pickled:
        raise BaseModelError(
            f"has its weights only as {pickled[0]}, a format that can run code when it is loaded",
            where=where,
            hint="use a model with *.safetensors weights; the hub converts one at "
            "https://huggingface.co/spaces/safetensors/convert",
        )
    missing = [name for name in REQUIRED if name not in names] + ([] if weights else ["model.safetensors"])
    if missing:
        raise BaseModelError(
            f"lacks {', '.join(missing)}",
            where=where,
            hint=f"a complete Hugging Face folder has {', '.join(REQUIRED)} and model*.safetensors",
        )
    return sorted(set(SMALL_FILES) & set(names)), weights


def check_small_files(folder: Path, where: str, *, reviewed: bool = False, needs_template: bool = True) -> None:
    """Raise BaseModelError unless the model is of a supported kind, can chat and asks for no code of its own.

    Without `needs_template` its chat template is left alone: another takes its place.
    A catalog entry at its pinned commit is `reviewed`: its `auto_map` is not followed but dropped, since transformers
    has the architecture built in.
    """
    config, tokenizer = load(folder / "config.json"), load(folder / "tokenizer_config.json")
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        if "auto_map" in content and not reviewed:
            raise BaseModelError(
                f"{name} has auto_map: the model wants to run code of its own, which is never done",
                where=where,
                hint="use a model of a built-in architecture",
            )
    if "quantization_config" in config:
        raise BaseModelError(
            "the weights are already quantized",
            where=where,
            hint="use the model it was made from, in bf16, fp16 or fp32",
        )
    check_architecture(config.get("architectures"), where)
    wrong = [key for key in SIZES if not isinstance(config.get(key), int) or config[key] < 1]
    if wrong:
        raise BaseModelError(f"config.json gives no usable {', '.join(wrong)}", where=where, hint=AGAIN)
    check_computable(config, where)
    if needs_template:
        try_out(own_template(folder, tokenizer, where), folder, where)


def check_architecture(architectures: Any, where: str) -> None:
    """Raise BaseModelError unless `architectures` is one name that the whole pipeline can handle."""
    if not isinstance(architectures, list) or len(architectures) != 1 or architectures[0] not in ARCHITECTURES:
        raise BaseModelError(
            f"architecture {architectures} cannot be trained here and converted to GGUF later",
            where=where,
            hint=f"supported: {', '.join(ARCHITECTURES)}",
        )


def load(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises BaseModelError when it holds anything else."""
    try:
        content = read_json(path)
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
    except (OSError, ValueError, RecursionError) as error:
        raise BaseModelError(f"cannot be read as JSON: {error}", where=str(path), hint=AGAIN) from error
    if not isinstance(content, dict):
        raise BaseModelError("holds no JSON object", where=str(path), hint=AGAIN)
    return content
