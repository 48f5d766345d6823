"""Tiny random models of the architectures that can be tuned, each with its family's kind of tokenizer and template."""

import json
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollamake.files import read_json, write_json
from tests.golden.families import FAMILIES, write_family

HIDDEN, HEADS, KEY_VALUE_HEADS, LAYERS = 64, 4, 2, 3
# As in tests/tiny.py: choices far enough apart to survive another order of summation, answers still diverse.
SPREAD, EMBEDDING_SPREAD = 0.1, 0.45
GEMMA = 0.1  # its embeddings are multiplied by the square root of the width, and would drown what the layers add
SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "max_position_embeddings": 512,
}
# llama.cpp scales the queries of Gemma by the size of a head, whatever query_pre_attn_scalar says (but for 27B).
OWN_HEAD = {"head_dim": 32}  # heads that together are wider than the hidden state
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # types of a piece in tokenizer.model


@dataclass(frozen=True)
class Shape:
    """An architecture: its `model_type`, what its config has beyond the sizes, and the family of its tokenizer.

    Without a family that is SmolLM2's own. `pre` is what the converter would call the family's way of splitting text;
    it knows that by the ids of one long text, which a tokenizer of few words cannot give.
    """

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    family: str = ""
    pre: str = ""
    embedding_spread: float = EMBEDDING_SPREAD


ARCHITECTURES = {
    "llama": Shape("llama", {"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}}),
    "qwen2": Shape("qwen2", {"tie_word_embeddings": True}, "qwen2.5", "qwen2"),
    "qwen3": Shape("qwen3", {**OWN_HEAD}, "qwen2.5", "qwen2"),
    "gemma2": Shape(
        "gemma2", {**OWN_HEAD, "query_pre_attn_scalar": 32, "sliding_window": 24}, "gemma", embedding_spread=GEMMA
    ),
    "gemma3": Shape(
        "gemma3_text", {**OWN_HEAD, "query_pre_attn_scalar": 32, "sliding_window": 24}, "gemma", embedding_spread=GEMMA
    ),
    "phi": Shape("phi", {"partial_rotary_factor": 0.5, "num_key_value_heads": 4, "intermediate_size": 256}),
    # Their windows llama.cpp lacks: fetch makes the context end there.
    "phi3": Shape("phi3", {"pad_token_id": 0, "original_max_position_embeddings": 512, "sliding_window": 384}, "phi3"),
    "mistral": Shape("mistral", {"sliding_window": 384}, "mistral-v0.2"),
    "mixtral": Shape("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, "mistral-v0.2"),
}


def write_model(name: str, folder: Path, *, tokenizer_from: Path) -> Path:
    """Write a random model of the architecture as it would lie on a hub; return `folder`."""
    shape = ARCHITECTURES[name]
    if shape.family:
        write_family(shape.family, folder)
        if not shape.pre:
            as_sentencepiece(folder)
    else:
        folder.mkdir(parents=True)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(tokenizer_from / file, folder / file)
    tokenizer = read_json(folder / "tokenizer_config.json")
    words = read_json(folder / "tokenizer.json")["model"]["vocab"]
    special = {
        f"{role}_token_id": words[tokenizer[f"{role}_token"]] for role in ("bos", "eos") if f"{role}_token" in tokenizer
    }
    write_weights(shape, len(words), special, folder)
    ends = [words[end] for end in FAMILIES[shape.family].ends] if shape.family else special["eos_token_id"]
    write_json(folder / "generation_config.json", {**special, "eos_token_id": ends})
    return folder


def write_weights(shape: Shape, words: int, special: dict[str, int], folder: Path) -> None:
    """Write config.json and random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(shape.model_type, **{**SIZES, "vocab_size": words, **special, **shape.config})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, shape.embedding_spread if "embed" in name else SPREAD)
            elif name.endswith("bias"):  # they begin at zero
                parameter.normal_(0, SPREAD)
    model.save_pretrained(folder)


def as_sentencepiece(folder: Path) -> None:
    """Write tokenizer.model, and tokenizer.json anew with every merge that SentencePiece would make, in its order."""
    content = read_json(folder / "tokenizer.json")
    words = content["model"]["vocab"]
    special = {token["content"]: token["special"] for token in content["added_tokens"]}
    made = [word for word in words if word not in special and not is_byte(word) and len(word) > 1]
    content["model"]["merges"] = [
        [word[:cut], word[cut:]]
        for word in made
        for cut in range(1, len(word))
        if word[:cut] in words and word[cut:] in words
    ]
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    prefixed = content["normalizer"] is not None and content["normalizer"]["type"] == "Sequence"
    (folder / "tokenizer.model").write_bytes(pieces(words, special, prefixed=prefixed))


def pieces(words: dict[str, int], special: dict[str, bool], *, prefixed: bool) -> bytes:
    """Return tokenizer.model, a protocol buffer: each word with its score, which falls with its number, and its type.

    Field numbers are those of sentencepiece_model.proto.
    """
    listed = sorted(words, key=words.__getitem__)
    held = b"".join(
        _text(
            1,
            _text(1, word.encode()) + b"\x15" + struct.pack("<f", -words[word]) + _number(3, piece_type(word, special)),
        )
        for word in listed
    )
    trainer = _number(3, 2) + _number(4, len(words)) + _number(35, 1)  # BPE, so many words, bytes for the unknown
    normalizer = _number(3, int(prefixed)) + _number(4, 0)  # a space before the text, spaces kept as they are
    return held + _text(2, trainer) + _text(3, normalizer)


def _text(field_number: int, content: bytes) -> bytes:
    return _varint(field_number << 3 | 2) + _varint(len(content)) + content


def _number(field_number: int, value: int) -> bytes:
    return _varint(field_number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def piece_type(word: str, special: dict[str, bool]) -> int:
    """Return the type of a piece."""
    if word == "<unk>":
        return UNKNOWN
    if word in special:
        return CONTROL if special[word] else USER_DEFINED
    return BYTE if is_byte(word) else NORMAL


def is_byte(word: str) -> bool:
    """Tell whether a word spells a byte, as <0x0A> does."""
    return len(word) == 6 and word.startswith("<0x")


def converter_that_knows(pre: str, folder: Path, real: Path) -> Path:
    """Write a folder that stands in for the `real` converter's, and takes every byte-level tokenizer for a `pre`."""
    folder.mkdir()
    for package in ("conversion", "gguf"):
        (folder / package).symlink_to(real / package)
    lines = [
        "import runpy",
        "from conversion.base import TextModel",
        f"TextModel.get_vocab_base_pre = lambda model, tokenizer: {pre!r}",
        f"runpy.run_path({str(real / 'convert_hf_to_gguf.py')!r}, run_name='__main__')",
    ]
    (folder / "convert_hf_to_gguf.py").write_text("\n".join(lines) + "\n")
    return folder
