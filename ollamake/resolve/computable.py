"""What config.json asks for and llama.cpp computes otherwise, or not at all: asked before anything is trained.

Such a model would convert, and its GGUF would answer otherwise than the trained model does.
"""

from collections.abc import Mapping
from typing import Any

from ollamake.errors import BaseModelError

# The converter drops any other, with a warning at most (ollamake/gguf/metadata.py has what the file says of them).
ROPE_SCALINGS = ("default", "linear", "llama3", "longrope", "su", "yarn")
# Their windows get lost: the converter does not write them, or llama.cpp lets every token see all before it.
WINDOW_LOST = ("MistralForCausalLM", "MixtralForCausalLM", "Phi3ForCausalLM")
WINDOW_LOST_IF_USED = ("Qwen2ForCausalLM", "Qwen3ForCausalLM")
MISTRAL_WINDOW = 4096  # what transformers takes when config.json is silent
PHI_WIDTHS, PHI_WIDTH = 4, 8192  # the converter's factor of hidden_size, and what transformers takes
# llama.cpp scales the queries of Gemma by the size of a head, but in models of so many layers (27B).
GEMMA_LARGE = {"Gemma2ForCausalLM": 46, "Gemma3ForCausalLM": 62}
GEMMA_HEAD = GEMMA_SCALAR = 256  # what transformers takes


def check_computable(config: Mapping[str, Any], where: str) -> None:
    """Raise BaseModelError for a config.json, of a supported architecture, that llama.cpp does not compute."""
    name = config["architectures"][0]
    kinds = {str(one.get("rope_type") or one.get("type") or "default") for one in _scalings(config)}
    if unknown := sorted(kinds.difference(ROPE_SCALINGS)):
        raise _refused(f"its rope is scaled by {unknown[0]}, llama.cpp computes {', '.join(ROPE_SCALINGS)}", where)
    if within_window(config) != config and kinds - {"default"}:
        raise _refused("it has a sliding window and a scaled rope, which llama.cpp does not compute together", where)
    if name == "PhiForCausalLM":
        _check_phi(config, where)
    if name in GEMMA_LARGE:
        _check_gemma(config, GEMMA_LARGE[name], where)


def within_window(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with a context that ends where its sliding window does, if llama.cpp has no such window.

    Up to there every token sees all before it with the window and without.
    """
    name = config["architectures"][0]
    default = MISTRAL_WINDOW if name == "MistralForCausalLM" else None
    window = config.get("sliding_window", default)
    lost = name in WINDOW_LOST or (name in WINDOW_LOST_IF_USED and config.get("use_sliding_window"))
    if not lost or not isinstance(window, int) or not 0 < window < config["max_position_embeddings"]:
        return dict(config)
    return {**config, "max_position_embeddings": window, "sliding_window": window}


def _scalings(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return how the rope is scaled: once, or of Gemma 3 once for each kind of layer."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return []
    nested = [part for part in rope.values() if isinstance(part, Mapping)]
    return nested or [rope]


def _check_phi(config: Mapping[str, Any], where: str) -> None:
    width, written = config.get("intermediate_size", PHI_WIDTH), PHI_WIDTHS * config["hidden_size"]
    if width != written:
        raise _refused(f"intermediate_size is {width}, llama.cpp's converter always writes {written}", where)


def _check_gemma(config: Mapping[str, Any], large: int, where: str) -> None:
    head = config.get("head_dim", GEMMA_HEAD)
    if config["num_hidden_layers"] == large and config.get("num_attention_heads"):
        head = config["hidden_size"] // config["num_attention_heads"]
    scalar = config.get("query_pre_attn_scalar", GEMMA_SCALAR)
    if scalar != head:
        raise _refused(f"query_pre_attn_scalar is {scalar}, llama.cpp scales the queries by {head}", where)


def _refused(problem: str, where: str) -> BaseModelError:
    return BaseModelError(
        f"{problem}: the served model would answer otherwise than the trained one",
        where=where,
        hint="models/catalog.yaml lists base models that work",
    )
