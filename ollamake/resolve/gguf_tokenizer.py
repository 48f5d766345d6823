"""A Hugging Face tokenizer from the vocabulary that a GGUF file carries.

`transformers` can load one too, but it knows few of the ways in which text is split before the merges: for SmolLM2 it
drops the rule that every digit stands alone, in silence (reference/gguf.md §1). So the tokenizer is built here from an
allow-list of splitters, and `tokenizer_parity` proves the result equal to llama.cpp's on the original file.
"""

from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import write_json
from ollamake.resolve.gguf_file import GgufFile
from ollamake.resolve.template import FILE, without_template

# Kinds of entries in tokenizer.ggml.token_type (llama.cpp, enum llama_token_type).
CONTROL, USER_DEFINED = 3, 4

# The expressions are those of llama.cpp's src/llama-vocab.cpp for the same names.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
SUPPORTED = ("smollm", "llama-bpe", "qwen2")


def write_tokenizer(gguf: GgufFile, folder: Path, *, needs_template: bool = True) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja of `gguf` into `folder`.

    Raises BaseModelError when the file has no chat template or splits text in a way that is not on the allow-list.
    Without `needs_template` the template is left where it is.
    """
    template = chat_template(gguf) if needs_template else ""
    tokenizer = build_tokenizer(gguf)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=True)
    write_json(folder / "tokenizer_config.json", _config(gguf))
    if needs_template:
        (folder / FILE).write_text(template, encoding="utf-8", newline="")


def chat_template(gguf: GgufFile) -> str:
    """Return the Jinja chat template. Raises BaseModelError when the file has none."""
    template = gguf.get("tokenizer.chat_template")
    if not template:
        raise without_template(str(gguf.path))
    return str(template)


def build_tokenizer(gguf: GgufFile) -> Any:
    """Return the `tokenizers.Tokenizer` of a byte-level BPE vocabulary, special tokens included."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing

    name = _splitter_name(gguf)
    merges = [tuple(pair.split(" ", 1)) for pair in gguf.require("tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(gguf.tokens)}
    # Llama 3 takes a word that is a token as it is, without going through the merges.
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = _splitter(name)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_added(gguf, CONTROL))
    tokenizer.add_tokens(_added(gguf, USER_DEFINED))
    if begin := _begin(gguf, name):
        # The converter back to GGUF knows Llama 3's tokenizer by the ids of a text, this token in front of them.
        tokenizer.post_processor = TemplateProcessing(single=[begin[1], "$A"], special_tokens=[begin[::-1]])
    return tokenizer


def _begin(gguf: GgufFile, splitter: str) -> tuple[int, str] | None:
    """Return id and text of the token that llama.cpp puts before every text, None where it puts none."""
    added = gguf.get("tokenizer.ggml.add_bos_token")
    return gguf.special_token("bos") if added or (added is None and splitter == "llama-bpe") else None


def _added(gguf: GgufFile, kind: int) -> list[Any]:
    from tokenizers import AddedToken

    kinds = gguf.require("tokenizer.ggml.token_type")
    return [
        AddedToken(token, special=kind == CONTROL, normalized=False)
        for token, found in zip(gguf.tokens, kinds, strict=True)
        if found == kind
    ]


def _splitter_name(gguf: GgufFile) -> str:
    model, name = gguf.require("tokenizer.ggml.model"), gguf.get("tokenizer.ggml.pre")
    if model != "gpt2" or name not in SUPPORTED:
        raise BaseModelError(
            f"splits text as {model}/{name}; proved equal to llama.cpp are only {', '.join(SUPPORTED)}",
            where=str(gguf.path),
            hint="set base_model to the hub id of the original model, whose tokenizer needs no conversion",
        )
    return str(name)


def _splitter(name: str) -> Any:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    if name == "smollm":
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    pattern = Regex(QWEN2_SPLIT if name == "qwen2" else LLAMA3_SPLIT)
    return Sequence([Split(pattern, behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])


def _config(gguf: GgufFile) -> dict[str, Any]:
    roles = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    named = {key: gguf.special_token(role) for role, key in roles.items()}
    return {
        **({"add_bos_token": True} if gguf.get("tokenizer.ggml.add_bos_token") else {}),
        **{key: token[1] for key, token in named.items() if token},
        "clean_up_tokenization_spaces": False,
        "model_max_length": gguf.context_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
