"""Llama-shaped models of random weights with a made-up tokenizer, and made-up rows: nothing is downloaded.

python -m benchmarks.models SIZE FOLDER          # writes a model; a process of its own, so that its memory is freed
"""

import json
import math
import random
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

UNKNOWN, START, END = range(3)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|> ' + message['content'] + ' <|im_end|> ' }}{% endfor %}"
    "{{ '<|im_start|> ' if add_generation_prompt else '' }}"
)
# The configurations of SmolLM2-135M, Llama 3.2 1B and Llama 3.1 8B; `tiny` is for trying the benchmark out on a CPU.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4},
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}
KEY_VALUE_HEADS = {"tiny": 2, "135M": 3, "1B": 8, "8B": 8}
VOCABULARIES = {"tiny": 512, "135M": 49152, "1B": 128256, "8B": 128256}
CONTEXT = 8192
LENGTH_SPREAD = 0.7


def model_config(size: str) -> dict[str, Any]:
    """Return config.json of a size."""
    return {
        **SIZES[size],
        "num_key_value_heads": KEY_VALUE_HEADS[size],
        "head_dim": SIZES[size]["hidden_size"] // SIZES[size]["num_attention_heads"],
        "vocab_size": VOCABULARIES[size],
        "tie_word_embeddings": size != "8B",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
    }


def write_model(size: str, folder: Path) -> None:
    """Write random weights in bfloat16, made where they are fastest to make, and the tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(LlamaConfig(**model_config(size), dtype=torch.bfloat16))
    model.save_pretrained(folder)
    special = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    (folder / "generation_config.json").write_text(json.dumps(special))
    write_tokenizer(VOCABULARIES[size], folder)


def write_tokenizer(words: int, folder: Path) -> None:
    """Write a tokenizer of whole words, w3 w4 …, and its chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<|im_start|>", "<|im_end|>", *(f"w{word}" for word in range(3, words))]
    tokenizer = Tokenizer(WordLevel({name: place for place, name in enumerate(names)}, unk_token=names[UNKNOWN]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokens = {"unk_token": names[UNKNOWN], "bos_token": names[START], "eos_token": names[END], "pad_token": names[END]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def made_up_rows(
    count: int, words: int, *, mean: int, longest: int, supervised: float, seed: int = 1
) -> list[tuple[list[int], list[int]]]:
    """Return token ids and labels of rows of log-normal lengths, cut at `longest`; the last part carries the loss."""
    dice = random.Random(seed)  # noqa: S311 - it is no secret
    rows = []
    for _ in range(count):
        drawn = dice.lognormvariate(math.log(mean) - LENGTH_SPREAD**2 / 2, LENGTH_SPREAD)
        length = min(max(round(drawn), 8), longest)
        ids = [START, *(dice.randrange(3, words) for _ in range(length - 2)), END]
        prompt = min(max(round(length * (1 - supervised)), 1), length - 1)
        rows.append((ids, [-100] * prompt + ids[prompt:]))
    return rows


def as_table(rows: list[tuple[list[int], list[int]]]) -> Any:
    """Return rows as tokenize writes them."""
    import pyarrow as pa

    from ollamake.tokens.tables import SCHEMA

    lines = [
        {"id": f"{place:08x}", "input_ids": ids, "labels": labels, "prompt_length": labels.count(-100)}
        | {"prompt": "", "reference": "", "task": "sft"}
        for place, (ids, labels) in enumerate(rows)
    ]
    return pa.Table.from_pylist(lines, schema=SCHEMA)


def record_of(name: str, folder: Path) -> Mapping[str, Any]:
    """Return models/base.json for a model folder; of the weights, the train stage looks at the name alone."""
    small = [file for file in folder.iterdir() if file.suffix != ".safetensors"]
    files = {file.name: sha256(file.read_bytes()).hexdigest() for file in small}
    files |= {file.name: "" for file in folder.glob("*.safetensors")}
    source = {"kind": "folder", "path": name}
    return {"name": name, "source": source, "revision": "", "license": "", "key": name.lower(), "files": files} | {
        "architecture": "LlamaForCausalLM"
    }


if __name__ == "__main__":
    write_model(sys.argv[1], Path(sys.argv[2]))
