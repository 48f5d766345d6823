import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.weights import check_finite, check_weights, read_tensors

FILE = "model.safetensors"
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def model(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "model")


def refused(folder, message):
    with pytest.raises(BaseModelError, match=message) as raised:
        check_weights(folder)
    assert raised.value.where.startswith(str(folder))


def write_header(path, header, body=b""):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_a_whole_model_passes(model):
    check_weights(model)


def test_shards_with_an_index_pass_and_a_missing_one_is_named(model):
    tensors = load_file(model / FILE)
    (model / FILE).unlink()
    names = sorted(tensors)
    shards = {"model-1-of-2.safetensors": names[:9], "model-2-of-2.safetensors": names[9:]}
    for shard, members in shards.items():
        save_file({name: tensors[name] for name in members}, model / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    write_json(model / "model.safetensors.index.json", {"weight_map": weight_map})
    check_weights(model)
    (model / "model-2-of-2.safetensors").unlink()
    refused(model, r"is not in model-2-of-2.safetensors \(11 such tensors\)")


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 5_000, -1])
def test_a_truncated_file_is_refused(model, kept):
    content = (model / FILE).read_bytes()
    (model / FILE).write_bytes(content[:kept])
    refused(model, ".")


def test_a_header_of_more_than_100_mb_is_refused(model):
    (model / FILE).write_bytes((200_000_000).to_bytes(8, "little") + b"{}")
    refused(model, "HeaderTooLarge|InvalidHeaderLength|header too large")


def test_overlapping_tensors_are_refused(model):
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}
    write_header(model / FILE, header, bytes(8))
    refused(model, "(?i)offset|overlap|invalid")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_that_is_none_is_refused(model, value, dtype):
    tensors = load_file(model / FILE)
    tensors[QUERY] = tensors[QUERY].astype(dtype)
    tensors[QUERY][-1, -1] = np.finfo(dtype).max
    save_file(tensors, model / FILE)
    check_weights(model)
    tensors[QUERY][-1, -1] = value
    save_file(tensors, model / FILE)
    refused(model, f"{QUERY} holds NaN or infinity")


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0])
def test_a_bfloat16_that_is_no_number_is_refused(tmp_path, bits):
    values = np.full(64, 0x7F7F, "<u2")  # the largest finite one
    header = {"w": {"dtype": "BF16", "shape": [64], "data_offsets": [0, values.nbytes]}}
    write_header(tmp_path / FILE, header, values.tobytes())
    check_finite("w", read_tensors(tmp_path)["w"])
    values[-1] = bits
    write_header(tmp_path / FILE, header, values.tobytes())
    with pytest.raises(BaseModelError, match="w holds NaN or infinity"):
        check_finite("w", read_tensors(tmp_path)["w"])


def test_weights_stored_as_integers_are_refused(model):
    tensors = load_file(model / FILE)
    tensors[QUERY] = tensors[QUERY].astype(np.int8)
    save_file(tensors, model / FILE)
    refused(model, f"{QUERY} is stored as I8")


def test_a_missing_tensor_is_refused(model):
    tensors = load_file(model / FILE)
    del tensors[QUERY]
    save_file(tensors, model / FILE)
    refused(model, "model.layers.self_attn.q_proj.weight is missing or of another shape in layer 1")


def test_a_tensor_of_another_shape_is_refused(model):
    tensors = load_file(model / FILE)
    tensors[QUERY] = tensors[QUERY][:32].copy()
    save_file(tensors, model / FILE)
    refused(model, "of another shape in layer 1")


def test_a_missing_layer_is_refused(model):
    tensors = {name: value for name, value in load_file(model / FILE).items() if ".layers.1." not in name}
    save_file(tensors, model / FILE)
    refused(model, "promises 2 layers, the weights hold 1")


def test_an_output_layer_that_is_neither_there_nor_tied_is_refused(model):
    write_json(model / "config.json", {**read_json(model / "config.json"), "tie_word_embeddings": False})
    refused(model, "lm_head.weight is missing")


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused(model):
    tensors = load_file(model / FILE)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:49_000].copy()
    save_file(tensors, model / FILE)
    refused(model, r"has the shape \(49000, 64\), config.json says \(49152, 64\)")
    write_json(model / "config.json", {**read_json(model / "config.json"), "vocab_size": 49_000})
    refused(model, "ids up to 49151, the embedding only 49000 rows")


def test_a_file_without_an_embedding_is_refused(model):
    tensors = load_file(model / FILE)
    del tensors["model.embed_tokens.weight"]
    save_file(tensors, model / FILE)
    refused(model, "model.embed_tokens.weight is missing")


@pytest.mark.parametrize("layers", [None, "two", 0, 3, 1e9])
def test_a_config_that_does_not_say_how_many_layers_there_are_is_refused(model, layers):
    write_json(model / "config.json", {**read_json(model / "config.json"), "num_hidden_layers": layers})
    refused(model, f"promises {layers} layers, the weights hold 2")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": {"type": "BPE"}}', "\x00"])
def test_a_tokenizer_file_that_holds_none_is_refused(model, text):
    (model / "tokenizer.json").write_text(text)
    refused(model, "holds no tokenizer")
