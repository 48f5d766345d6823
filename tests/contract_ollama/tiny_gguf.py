"""A random Llama of 150,000 weights with a vocabulary of bytes: a real GGUF file, made in a moment from nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CONTEXT, HIDDEN, FEED_FORWARD, LAYERS, HEADS, KEY_VALUE_HEADS = 512, 64, 128, 2, 4, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TURN = 2
NORMAL, CONTROL = 1, 3  # token types of llama.cpp
FILE_TYPE_F16 = 1


class Words(NamedTuple):
    """A vocabulary of byte-level pairs, with SPECIAL in front: tokens, their types, merges as `a b`."""

    tokens: list[str]
    types: list[int]
    merges: list[str]


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    chat_template: str = "",
    words: Words | None = None,
    more: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write the file; another seed is another model, `more` are further tensors by name."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    tokens, types, merges = words or _bytes_alone()
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(FILE_TYPE_F16)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END_OF_TURN)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)
    for name, tensor in [*_tensors(len(tokens), np.random.default_rng(seed)), *(more or {}).items()]:
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _bytes_alone() -> Words:
    merges = ["h e", "l l"]  # llama.cpp wants the key; a few merges are enough
    tokens = [*SPECIAL, *_byte_characters(), *(pair.replace(" ", "") for pair in merges)]
    return Words(tokens, [CONTROL] * len(SPECIAL) + [NORMAL] * (len(tokens) - len(SPECIAL)), merges)


def _byte_characters() -> list[str]:
    """Return a printable character for each byte, as byte-level vocabularies write them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _speakable(vocabulary: int) -> np.ndarray:
    """Return a column that silences every token but ASCII letters and the end of a turn, so that answers are text."""
    letters = [len(SPECIAL) + byte for byte in b"abcdefghijklmnopqrstuvwxyz"]
    column = np.zeros((vocabulary, 1), np.float16)
    column[[END_OF_TURN, *letters]] = 1
    return column


def _tensors(vocabulary: int, random: np.random.Generator) -> Any:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, 0.3, (rows, columns)).astype(np.float16)

    key_value = HIDDEN // HEADS * KEY_VALUE_HEADS
    yield "token_embd.weight", matrix(vocabulary, HIDDEN)
    yield "output.weight", matrix(vocabulary, HIDDEN) * _speakable(vocabulary)
    yield "output_norm.weight", np.ones(HIDDEN, np.float32)
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight", np.ones(HIDDEN, np.float32)
        yield f"blk.{layer}.ffn_norm.weight", np.ones(HIDDEN, np.float32)
        shapes = {
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (key_value, HIDDEN),
            "attn_v": (key_value, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (FEED_FORWARD, HIDDEN),
            "ffn_up": (FEED_FORWARD, HIDDEN),
            "ffn_down": (HIDDEN, FEED_FORWARD),
        }
        for name, shape in shapes.items():
            yield f"blk.{layer}.{name}.weight", matrix(*shape)
