"""A random model of the real architecture with the real tokenizer: two layers, 3 million parameters, made in a moment.

It is written with numpy, without torch or transformers, so that it costs nothing and is the same bytes everywhere.
"""

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ollamake.files import read_json, write_json

HIDDEN, FEED_FORWARD, LAYERS, HEADS, KEY_VALUE_HEADS, CONTEXT = 64, 128, 2, 4, 2, 512
# Wider than the 0.02 of a fresh Llama: greedy choices are then far enough apart to survive another summation order and,
# with embeddings that outweigh what two random layers add, 8-bit weights too (99 % of the choices stay). Answers are
# still diverse, and unpermuted q/k or a wrong rope theta change most of them.
SPREAD, EMBEDDING_SPREAD = 0.1, 0.45


def build_tiny_model(folder: Path, *, tokenizer_from: Path, vocabulary_size: int | None = None) -> Path:
    """Write a random LlamaForCausalLM with the tokenizer and chat template of `tokenizer_from`; return `folder`.

    `vocabulary_size` keeps only as many tokens, the first: those of control, the bytes and the shortest words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer_from / name, folder / name)
    tokenizer = read_json(tokenizer_from / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", {**tokenizer, "model_max_length": CONTEXT})
    if vocabulary_size is not None:
        _keep_first_tokens(folder / "tokenizer.json", vocabulary_size)
    vocabulary = read_json(folder / "tokenizer.json")["model"]["vocab"]
    special = {f"{role}_token_id": vocabulary[tokenizer[f"{role}_token"]] for role in ("bos", "eos", "pad")}
    write_json(folder / "config.json", {**_config(len(vocabulary)), **special})
    write_json(folder / "generation_config.json", special)
    save_file(_weights(len(vocabulary)), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    return folder


def _keep_first_tokens(file: Path, size: int) -> None:
    content = read_json(file)
    model = content["model"]
    model["vocab"] = kept = {token: number for token, number in model["vocab"].items() if number < size}
    model["merges"] = [pair for pair in model["merges"] if {*pair, "".join(pair)} <= kept.keys()]
    write_json(file, content)


def _config(vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


def _weights(vocabulary: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int, spread: float = SPREAD) -> np.ndarray:
        return random.normal(0, spread, (rows, columns)).astype(np.float32)

    key_value = HIDDEN // HEADS * KEY_VALUE_HEADS
    weights = {"model.embed_tokens.weight": matrix(vocabulary, HIDDEN, EMBEDDING_SPREAD)}
    for layer in range(LAYERS):
        weights |= {
            f"model.layers.{layer}.{name}.weight": tensor
            for name, tensor in {
                "input_layernorm": np.ones(HIDDEN, np.float32),
                "self_attn.q_proj": matrix(HIDDEN, HIDDEN),
                "self_attn.k_proj": matrix(key_value, HIDDEN),
                "self_attn.v_proj": matrix(key_value, HIDDEN),
                "self_attn.o_proj": matrix(HIDDEN, HIDDEN),
                "post_attention_layernorm": np.ones(HIDDEN, np.float32),
                "mlp.gate_proj": matrix(FEED_FORWARD, HIDDEN),
                "mlp.up_proj": matrix(FEED_FORWARD, HIDDEN),
                "mlp.down_proj": matrix(HIDDEN, FEED_FORWARD),
            }.items()
        }
    return weights | {"model.norm.weight": np.ones(HIDDEN, np.float32)}
