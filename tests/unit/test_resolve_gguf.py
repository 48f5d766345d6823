import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.resolve.gguf_file import GgufFile
from ollamake.resolve.gguf_import import LocalGguf, import_gguf
from ollamake.resolve.gguf_tokenizer import write_tokenizer
from ollamake.resolve.tokenizer_parity import awkward_strings, check_against_llama_cpp
from ollamake.resolve.weights import check_weights

HIDDEN, FEED_FORWARD, SIZE = 32, 64, 3000
pytestmark = pytest.mark.xdist_group("vocabulary")  # one worker reads it
SHAPES = {
    "attn_norm": (HIDDEN,),
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (HIDDEN, HIDDEN),
    "attn_v": (HIDDEN, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_norm": (HIDDEN,),
    "ffn_gate": (FEED_FORWARD, HIDDEN),
    "ffn_up": (FEED_FORWARD, HIDDEN),
    "ffn_down": (HIDDEN, FEED_FORWARD),
}


@pytest.fixture(scope="module")
def vocabulary(smollm2_gguf):
    """The first of SmolLM2's tokens, kinds and merges, and three numbers: it has none of more than one digit."""
    gguf = GgufFile(smollm2_gguf)
    tokens, kinds = gguf.tokens[:SIZE], gguf.require("tokenizer.ggml.token_type")[:SIZE]
    merges = [pair for pair in gguf.require("tokenizer.ggml.merges") if pair.replace(" ", "") in set(tokens)]
    return [*tokens, "12", "123", "1234"], [*kinds, 1, 1, 1], [*merges, "1 2", "12 3", "123 4"]


@pytest.fixture
def write_gguf(tmp_path, vocabulary):
    """Write a one-layer random Llama with SmolLM2's vocabulary; return its path and its tensors by GGUF name."""
    tokens, kinds, merges = vocabulary

    def write(pre="smollm", architecture="llama", model="gpt2", template="{{ messages }}"):
        path = tmp_path / "tiny.gguf"
        writer = GGUFWriter(path, architecture)
        writer.add_context_length(512)
        writer.add_embedding_length(HIDDEN)
        writer.add_block_count(1)
        writer.add_feed_forward_length(FEED_FORWARD)
        writer.add_head_count(2)
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(HIDDEN // 2)
        writer.add_vocab_size(len(tokens))
        writer.add_file_type(0)
        writer.add_tokenizer_model(model)
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        if template:
            writer.add_chat_template(template)
        random = np.random.default_rng(0)
        shapes = {"token_embd": (len(tokens), HIDDEN), "output_norm": (HIDDEN,)}
        shapes |= {f"blk.0.{name}": shape for name, shape in SHAPES.items()}
        tensors = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
        for name, tensor in tensors.items():
            writer.add_tensor(f"{name}.weight", tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path, tensors

    return write


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "imported"
    path.mkdir()
    return path


def test_there_are_hundreds_of_awkward_strings_and_always_the_same():
    strings = awkward_strings()
    assert len(set(strings)) > 300
    assert strings == awkward_strings()
    assert {"  12", "\n\n5", "a  <  10"} < set(strings)


def test_the_real_tokenizer_equals_llama_cpp(smollm2_tokenizer, smollm2_gguf):
    check_against_llama_cpp(smollm2_tokenizer, smollm2_gguf)


def test_a_tokenizer_that_joins_digits_is_caught(smollm2_tokenizer, smollm2_gguf, folder):
    tokenizer = Tokenizer.from_file(str(smollm2_tokenizer / "tokenizer.json"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)  # what transformers makes of this GGUF file
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(BaseModelError, match="llama.cpp's tokenizer differ on"):
        check_against_llama_cpp(folder, smollm2_gguf)


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2"])
def test_every_splitter_on_the_list_equals_llama_cpp(pre, write_gguf, folder):
    path, _ = write_gguf(pre)
    write_tokenizer(GgufFile(path), folder)
    check_against_llama_cpp(folder, path)


@pytest.mark.parametrize(("pre", "begin"), [("llama-bpe", [1]), ("smollm", []), ("qwen2", [])])
def test_the_token_that_llama_cpp_puts_before_a_text_is_put_there_on_request(pre, begin, write_gguf, folder):
    path, _ = write_gguf(pre)
    write_tokenizer(GgufFile(path), folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("ls").ids == begin + tokenizer.encode("ls", add_special_tokens=False).ids


@pytest.mark.parametrize("other", ["smollm", "qwen2"])
def test_a_file_that_is_split_otherwise_is_told_apart(other, write_gguf, folder):
    path, _ = write_gguf("llama-bpe")
    write_tokenizer(GgufFile(path), folder)
    path, _ = write_gguf(other)
    with pytest.raises(BaseModelError, match="differ on"):
        check_against_llama_cpp(folder, path)


def test_an_import_keeps_every_number_and_no_trace_of_the_machine(write_gguf, folder):
    path, tensors = write_gguf()
    origin = LocalGguf(path).bring(folder, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
        "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
        "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
    }
    for name, ours in kept.items():
        np.testing.assert_array_equal(weights[f"{ours}.weight"], tensors[name])
    # llama.cpp turns pairs of numbers, transformers turns halves: the same rows in another order.
    query = tensors["blk.0.attn_q"].reshape(2, HIDDEN // 4, 2, HIDDEN).swapaxes(1, 2).reshape(HIDDEN, HIDDEN)
    np.testing.assert_array_equal(weights["model.layers.0.self_attn.q_proj.weight"], query)
    assert origin.revision == f"sha256:{origin.source['sha256']}"
    assert origin.source["quantization"] == "F32"
    check_weights(folder)
    config = read_json(folder / "config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == 512
    assert read_json(folder / "generation_config.json") == {"bos_token_id": 1, "eos_token_id": 2}
    assert read_json(folder / "tokenizer_config.json")["model_max_length"] == 512
    small = "".join(file.read_text() for file in folder.glob("*.json") if file.name != "tokenizer.json")
    assert str(path.parent) not in small
    assert "transformers_version" not in small


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pre": "tekken"}, "splits text as gpt2/tekken"),
        ({"model": "llama"}, "splits text as llama/smollm"),
        ({"architecture": "mamba"}, "has the architecture mamba"),
        ({"template": None}, "has no chat template"),
    ],
)
def test_what_cannot_be_rebuilt_exactly_is_refused_with_a_way_out(changes, problem, write_gguf, folder):
    path, _ = write_gguf(**changes)
    with pytest.raises(BaseModelError, match=problem) as raised:
        import_gguf(path, folder)
    assert raised.value.where == str(path)
    assert raised.value.hint
    assert not list(folder.glob("*.safetensors"))


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 1000, 100_000])
def test_a_truncated_gguf_is_refused(kept, smollm2_gguf, tmp_path, folder):
    path = tmp_path / "torn.gguf"
    with smollm2_gguf.open("rb") as stream:
        path.write_bytes(stream.read(kept))
    with pytest.raises(BaseModelError) as raised:
        import_gguf(path, folder)
    assert raised.value.where == str(path)


def test_a_gguf_without_its_last_tensors_is_refused(write_gguf, folder):
    path, _ = write_gguf()
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 10_000)
    with pytest.raises(BaseModelError) as raised:
        import_gguf(path, folder)
    assert raised.value.where == str(path)


def test_the_identity_of_a_file_changes_with_its_content(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    before = LocalGguf(path).identity
    assert before == LocalGguf(path).identity
    path.write_bytes(b"GGUF2")
    assert LocalGguf(path).identity != before
    assert json.dumps(before)
    assert Path(shutil.copy(path, tmp_path / "b.gguf")).name == LocalGguf(tmp_path / "b.gguf").name
