"""What a GGUF says about itself, against what the base model's own files say."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.gguf.findings import Finding, equal
from ollamake.gguf.header import Header, float_weights, read_header
from ollamake.gguf.prompts import Prompts, special_id, without_clock

# What the converter calls each architecture; one that is missing here is taken as the file says.
ARCHITECTURES = {
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "Phi3ForCausalLM": "phi3",
    "PhiForCausalLM": "phi2",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
# GGUF key after the architecture: the names it has in config.json, the first one present counts. The last three do not
# show in any answer when they are wrong by a little, or in short ones, so only this comparison can find them.
SAME_NUMBER = {
    "block_count": ("num_hidden_layers",),
    "embedding_length": ("hidden_size",),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps",),
    "context_length": ("max_position_embeddings",),
}
# What the file says of each scaling in config.json. The converter drops any other, with a warning at most.
ROPE_SCALINGS = {
    "default": None,
    "linear": "linear",
    "llama3": None,
    "longrope": "longrope",
    "su": "longrope",  # its name in early Phi-3 files
    "yarn": "yarn",
}
# Windows that the converter writes and llama.cpp computes; those that get lost, so that the context has to end there.
WINDOW_KEPT = ("Gemma2ForCausalLM", "Gemma3ForCausalLM")
WINDOW_LOST = ("MistralForCausalLM", "MixtralForCausalLM", "Phi3ForCausalLM")
WINDOW_LOST_IF_USED = ("Qwen2ForCausalLM", "Qwen3ForCausalLM")
LLAMA_CPP_ROPE_THETA = 10000.0  # what llama.cpp takes when the file is silent
FINITE_CHUNK = 1 << 22


def check(file: Path, base: Base, prompts: Prompts, file_type: int) -> list[Finding]:
    """Return the findings about the metadata and the weights of `file`. Raises ConversionError for no GGUF."""
    header = read_header(file)
    value = header.metadata.get
    names = {tensor.name for tensor in header.tensors}
    return [
        *_model(base, value),
        *_window(base, value),
        *_rope(base, value, names),
        *_tokenizer(base, prompts, value, file_type),
        _finite(file, header),
    ]


def splitter(file: Path) -> str:
    """Return the key and the name of the rules by which llama.cpp will split text, as `file` has them."""
    values = read_header(file).metadata
    key = "tokenizer.ggml.pre" if values.get("tokenizer.ggml.model") == "gpt2" else "tokenizer.ggml.model"
    return f"{key} {values.get(key)!r}"


def _model(base: Base, value: Callable[[str], Any]) -> Iterator[Finding]:
    config, prefix = base.config, value("general.architecture")
    yield equal("metadata", "general.architecture", ARCHITECTURES.get(base.record["architecture"], prefix), prefix)
    for key, names in SAME_NUMBER.items():
        wanted = next((config[name] for name in names if config.get(name) is not None), None)
        if wanted is not None:
            yield _close(f"{prefix}.{key}", wanted, value(f"{prefix}.{key}"))


def _window(base: Base, value: Callable[[str], Any]) -> Iterator[Finding]:
    config, prefix, name = base.config, value("general.architecture"), base.record["architecture"]
    window, context = config.get("sliding_window"), value(f"{prefix}.context_length")
    if window is None:
        return
    if name in WINDOW_KEPT:
        yield _close(f"{prefix}.attention.sliding_window", window, value(f"{prefix}.attention.sliding_window"))
    elif name in WINDOW_LOST or (name in WINDOW_LOST_IF_USED and config.get("use_sliding_window")):
        detail = f"expected {window} tokens at most, the sliding window, which llama.cpp lacks\ngot      {context}"
        yield Finding("metadata", f"{prefix}.context_length within the window", passed=context <= window, detail=detail)


def _rope(base: Base, value: Callable[[str], Any], tensors: set[str]) -> Iterator[Finding]:
    config, prefix = base.config, value("general.architecture")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "sliding_attention" in rope:  # Gemma 3: one for the layers that see everything, one for those with a window
        swa = value(f"{prefix}.rope.freq_base_swa")
        yield _close(f"{prefix}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"], swa)
    rope = rope.get("full_attention", rope)
    theta = rope.get("rope_theta") or config.get("rope_theta") or LLAMA_CPP_ROPE_THETA
    stored = value(f"{prefix}.rope.freq_base") or LLAMA_CPP_ROPE_THETA
    yield _close(f"{prefix}.rope.freq_base", theta, stored)
    scaling = rope.get("rope_type") or rope.get("type") or "default"
    known = scaling in ROPE_SCALINGS
    detail = f"expected one of {', '.join(ROPE_SCALINGS)}, which llama.cpp computes\ngot      {scaling}"
    yield Finding("metadata", "the rope scaling of config.json", passed=known, detail=detail)
    if not known:
        return
    yield equal("metadata", f"{prefix}.rope.scaling.type", ROPE_SCALINGS[scaling], value(f"{prefix}.rope.scaling.type"))
    if scaling in ("linear", "yarn"):
        yield _close(f"{prefix}.rope.scaling.factor", rope["factor"], value(f"{prefix}.rope.scaling.factor"))
    if scaling == "llama3":  # its factors are stored as a tensor
        yield equal("metadata", "rope_freqs.weight, the scaling of Llama 3.1", True, "rope_freqs.weight" in tensors)


def _tokenizer(base: Base, prompts: Prompts, value: Callable[[str], Any], file_type: int) -> Iterator[Finding]:
    yield equal("metadata", "general.file_type", file_type, value("general.file_type"))
    yield equal("metadata", "number of tokens", base.config["vocab_size"], value("tokenizer.ggml.tokens"))
    pre = value("tokenizer.ggml.pre")
    known = pre not in (None, "default") or value("tokenizer.ggml.model") != "gpt2"
    detail = "expected a name that llama.cpp knows\ngot      'default', which splits digits and spaces in its own way"
    yield Finding("metadata", "tokenizer.ggml.pre", passed=known, detail=detail)
    for kind in ("bos", "eos"):
        wanted = special_id(base.folder, kind)
        if wanted is not None:
            yield equal("metadata", f"tokenizer.ggml.{kind}_token_id", wanted, value(f"tokenizer.ggml.{kind}_token_id"))
    if (adds_bos := value("tokenizer.ggml.add_bos_token")) is not None:
        yield equal("metadata", "tokenizer.ggml.add_bos_token", bool(prompts.bos), adds_bos)
    yield equal(
        "metadata", "tokenizer.chat_template", without_clock(prompts.template.source), value("tokenizer.chat_template")
    )


def _close(key: str, wanted: float, got: float) -> Finding:
    if isinstance(got, int | float) and math.isclose(wanted, got, rel_tol=1e-6):  # the file holds 32-bit floats
        return Finding("metadata", key, passed=True)
    return equal("metadata", key, wanted, float(f"{got:.7g}") if isinstance(got, float) else got)


def _finite(file: Path, header: Header) -> Finding:
    import numpy as np

    broken = []
    for name, weights in float_weights(file, header):  # block formats are checked by llama.cpp when it loads the file
        parts = (weights[start : start + FINITE_CHUNK] for start in range(0, len(weights), FINITE_CHUNK))
        if not all(np.isfinite(part).all() for part in parts):
            broken.append(name)
    detail = f"expected finite weights\ngot      NaN or infinity in {', '.join(broken[:3])}"
    return Finding("weights", "every weight is finite", passed=not broken, detail=detail)
