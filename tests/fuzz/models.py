"""Files of a base model, changed: headers and numbers of safetensors, GGUF files, configurations, tokenizers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ollamake.chat import special_tokens
from ollamake.errors import BaseModelError
from ollamake.resolve import gguf_tokenizer
from ollamake.resolve.gguf_file import GgufFile, damage_told
from ollamake.resolve.gguf_rope import rope_scaling
from ollamake.resolve.safety import ARCHITECTURES, check_small_files
from ollamake.resolve.tidy import tidy
from ollamake.resolve.weights import check_weights
from tests.faults.mutation import Mutator
from tests.fuzz.verdict import told

LAYERS, HIDDEN = 2, 4
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 6,
    "hidden_size": HIDDEN,
    "intermediate_size": 8,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    "tie_word_embeddings": True,
}
TOKENIZER_CONFIG: dict[str, Any] = {
    "bos_token": {"content": "<s>", "special": True},
    "eos_token": "</s>",
    "chat_template": [{"name": "default", "template": "{{ messages }}"}],
}
TOKENS = ["<s>", "</s>", "a", "b", "ab", "Ġ"]
NAMES = ["model.embed_tokens.weight", *(f"model.layers.{n}.input_layernorm.weight" for n in range(LAYERS))]


def _tokenizer() -> dict[str, Any]:
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(TOKENS)}, [("a", "b")]))
    tokenizer.add_special_tokens(TOKENS[:2])
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def _tensors() -> tuple[dict[str, Any], bytes]:
    """Return the header and the numbers of whole weights."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name in NAMES:
        shape = [len(TOKENS), HIDDEN] if "embed" in name else [HIDDEN]
        numbers = np.ones(shape, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(numbers)]}
        body += numbers
    return header, body


def _write_gguf(path: Path) -> bytes:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_rope_freq_base(10_000.0)
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("rope_freqs.weight", np.ones(2, np.float32))
    writer.add_tensor("token_embd.weight", np.ones((6, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


class Models:
    """A whole small model of which one file is changed; what fetch asks of it before it trusts it is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.gguf = folder / "model", folder / "model.gguf"
        self._folder.mkdir()
        self._header, self._body = _tensors()
        self._good = {"config.json": CONFIG, "tokenizer_config.json": TOKENIZER_CONFIG, "tokenizer.json": _tokenizer()}
        self._good_gguf = _write_gguf(self.gguf)
        self._kinds: list[Callable[[Mutator], None]] = [self._weights, self._configuration, self._container]
        for name in self._good:
            (self._folder / name).write_text(json.dumps(self._good[name]))
        self._put_weights(json.dumps(self._header).encode(), self._body)

    def __call__(self, seed: int, number: int) -> str:
        """Return what became of a model in a word."""
        kind = self._kinds[number % len(self._kinds)]
        try:
            kind(Mutator(seed, number))
        except BaseModelError as error:
            return f"{kind.__name__[1:]}: {told(error)}"
        return f"{kind.__name__[1:]}: read"

    def _weights(self, mutator: Mutator) -> None:
        header = mutator.json(self._header) if mutator.draw.random() < 0.7 else json.dumps(self._header).encode()
        body = mutator.damaged(self._body) if mutator.draw.random() < 0.4 else self._body
        try:
            self._put_weights(header, body)
            if mutator.draw.random() < 0.2:
                file = self._folder / "model.safetensors"
                file.write_bytes(mutator.damaged(file.read_bytes()))
            check_weights(self._folder)
        finally:
            self._put_weights(json.dumps(self._header).encode(), self._body)

    def _configuration(self, mutator: Mutator) -> None:
        """As fetch takes a folder, but that no template is tried out and no library builds the model."""
        name = mutator.draw.choice([*self._good, "model.safetensors.index.json", "generation_config.json"])
        good = self._good.get(name, {"weight_map": dict.fromkeys(NAMES, "model.safetensors"), "eos_token_id": [1]})
        if name == "config.json":
            good = {**good, "architectures": [mutator.draw.choice(ARCHITECTURES)]}
        folder = Path(shutil.copytree(self._folder, self._folder.parent / "changed"))
        (folder / name).write_bytes(mutator.json(good))
        try:
            check_small_files(folder, "here", needs_template=False)
            tidy(folder)
            special_tokens(folder)
            check_weights(folder)
        finally:
            shutil.rmtree(folder)

    def _container(self, mutator: Mutator) -> None:
        self.gguf.write_bytes(mutator.damaged(self._good_gguf))
        gguf = GgufFile(self.gguf)
        with damage_told(self.gguf):
            rope_scaling(gguf)
            gguf_tokenizer.write_tokenizer(gguf, self._folder.parent)
        f"{gguf.architecture} {gguf.context_length} {gguf.parameters} {gguf.quantization} {gguf.tensor_names}".encode()
        [gguf.special_token(role) for role in ("bos", "eos", "padding", "unknown")]

    def _put_weights(self, header: bytes, body: bytes) -> None:
        (self._folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)
