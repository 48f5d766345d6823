"""Bad models (reference/reliability.md R5, 56 to 60): refused by fetch, nothing of them in the store."""

import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ollamake.base import open_base, store
from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.gguf_import import import_gguf
from stages.fetch import Params, main
from tests.bad_input.verdicts import REFUSED
from tests.fuzz.models import Models

WEIGHTS = "model.safetensors"
QUERY, UP = "self_attn.q_proj.weight", "mlp.up_proj.weight"


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """What fetch loads is loaded once, outside the clock."""
    import transformers

    return transformers.AutoModelForCausalLM


@pytest.fixture
def model(tiny_base, tmp_path, fetch_workspace):
    """A whole model, beside a workspace of its own."""
    return shutil.copytree(tiny_base, tmp_path / "model")


def fetch(model, chat_template="model"):
    main(Params(base_model=str(model), base_model_revision="pinned", chat_template=chat_template))


def refused(model, problem, chat_template="model"):
    """Hold what fetch says to `problem`, and the store to nothing."""
    with pytest.raises(BaseModelError, match=problem) as raised:
        fetch(model, chat_template)
    assert raised.value.where
    assert raised.value.hint
    left = [path for path in store().rglob("*") if path.suffix in (".safetensors", ".bin", ".jinja")]
    assert [path for path in left if chat_template == "model"] == []
    assert not Path("models/base.json").exists()


@dataclass
class Bomb:
    """Writes a file when it is unpickled."""

    path: Path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.r5(56, REFUSED)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin", "model.pth"])
def test_weights_that_are_only_pickled_are_refused(name, model):
    (model / WEIGHTS).rename(model / name)
    refused(model, f"has its weights only as {name}, a format that can run code when it is loaded")


@pytest.mark.r5(57, f"{REFUSED} unopened")
def test_a_pickle_that_runs_code_is_refused_unopened(model, tmp_path):
    (model / WEIGHTS).unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "owned")))
    refused(model, "only as pytorch_model.bin")
    assert not (tmp_path / "owned").exists()


@pytest.mark.r5(57, "beside good weights: left behind")
def test_a_pickle_beside_good_weights_is_left_where_it_is(model, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "owned")))
    fetch(model)
    assert {file.suffix for file in open_base().folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    assert not (tmp_path / "owned").exists()


def with_header(model, header, body=b""):
    text = json.dumps(header).encode()
    (model / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.r5(58, REFUSED)
def test_a_header_of_more_than_100_mb_is_refused_unread(model):
    with (model / WEIGHTS).open("wb") as stream:
        stream.write((150_000_000).to_bytes(8, "little"))
        stream.truncate(160_000_000)  # so long a header could stand there
    refused(model, "header too large")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize(
    "offsets", [([0, 8], [0, 8]), ([0, 8], [4, 12]), ([0, 8], [16, 24]), ([8, 0], [0, 8]), ([0, 8], [8, 10**18])]
)
def test_offsets_that_overlap_leave_gaps_or_lead_out_of_the_file_are_refused(offsets, model):
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": place} for name, place in zip("ab", offsets, strict=True)
    }
    with_header(model, header, bytes(24))
    refused(model, "(?i)invalid|incomplete")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_their_name(value, model):
    weights = load_file(model / WEIGHTS)
    weights[f"model.layers.1.{QUERY}"][-1, -1] = value
    save_file(weights, model / WEIGHTS)
    refused(model, f"model.layers.1.{QUERY} holds NaN or infinity")


@pytest.mark.r5(58, REFUSED)
def test_a_tensor_that_is_missing_in_one_layer_is_refused_by_its_name(model):
    weights = load_file(model / WEIGHTS)
    del weights[f"model.layers.1.{QUERY}"]
    save_file(weights, model / WEIGHTS)
    refused(model, f"model.layers.{QUERY} is missing or of another shape in layer 1")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize("name", [UP, "input_layernorm.weight", "model.norm.weight"])
def test_a_tensor_that_is_missing_everywhere_is_refused_and_not_made_up(name, model):
    weights = {key: value for key, value in load_file(model / WEIGHTS).items() if not key.endswith(name)}
    save_file(weights, model / WEIGHTS)
    refused(model, f"{name} is missing")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize("layers", [("0",), ("0", "1")])
def test_a_tensor_of_another_shape_is_refused_in_one_layer_and_in_all(layers, model):
    weights = load_file(model / WEIGHTS)
    for layer in layers:
        name = f"model.layers.{layer}.{QUERY}"
        weights[name] = weights[name][:32].copy()
    save_file(weights, model / WEIGHTS)
    refused(
        model, f"{QUERY} (is missing or of another shape|has the shape \\(32, 64\\), config.json means \\(64, 64\\))"
    )


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize(
    ("key", "value"), [("intermediate_size", 129), ("num_attention_heads", 3), ("num_key_value_heads", 1)]
)
def test_a_config_of_another_model_is_refused(key, value, model):
    write_json(model / "config.json", {**read_json(model / "config.json"), key: value})
    refused(model, "config.json means|transformers cannot build the model")


@pytest.mark.r5(59, f"{REFUSED}, not run")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused_and_its_code_not_run(file, model, tmp_path):
    (model / "modeling_mine.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    auto_map = {"AutoConfig": "modeling_mine.Mine", "AutoTokenizer": ["modeling_mine.Mine", None]}
    write_json(model / file, {**read_json(model / file), "auto_map": auto_map})
    refused(model, f"{file} has auto_map: the model wants to run code of its own, which is never done")
    assert not (tmp_path / "owned").exists()


@pytest.mark.r5(60, REFUSED)
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(model):
    weights = load_file(model / WEIGHTS)
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:49_000].copy()
    save_file(weights, model / WEIGHTS)
    write_json(model / "config.json", {**read_json(model / "config.json"), "vocab_size": 49_000})
    refused(model, "the tokenizer has ids up to 49151, the embedding only 49000 rows")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize("listed", [["a"], 1.5, "model.safetensors", None])
def test_an_index_that_lists_no_files_of_tensors_is_refused(listed, model):
    write_json(model / "model.safetensors.index.json", {"weight_map": listed})
    refused(model, "weight_map is not the file of each tensor")


@pytest.mark.r5(60, REFUSED)
def test_a_tokenizer_in_which_the_library_panics_is_refused(model):
    tokenizer = read_json(model / "tokenizer.json")
    tokenizer["model"] |= {"continuing_subword_prefix": "#" * 99}
    write_json(model / "tokenizer.json", tokenizer)
    refused(model, "tokenizer.json: holds no tokenizer: ")


@pytest.mark.r5(60, REFUSED)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_text_that_no_file_can_hold_is_refused(file, model):
    content = read_json(model / file)
    (model / file).write_text(json.dumps({**content, "note": "\ud800"}))
    refused(model, f"{file}: cannot be read as JSON: 'utf-8' codec can't encode character")


def test_a_list_of_templates_with_names_that_are_none_has_its_default_taken(model):
    config, template = read_json(model / "tokenizer_config.json"), (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    named = [{"name": ["tools"], "template": "{{ oops"}, "more", {"name": "default", "template": template}]
    write_json(model / "tokenizer_config.json", {**config, "chat_template": named})
    fetch(model)
    assert (open_base().folder / "chat_template.jinja").read_text() == template


@pytest.fixture
def gguf(tmp_path):
    """A small GGUF file whose bytes can be changed, and where it lies."""
    return Models(tmp_path).gguf


def damaged(gguf, before, after):
    content = gguf.read_bytes()
    assert content.count(before) == 1
    gguf.write_bytes(content.replace(before, after))
    with pytest.raises(BaseModelError, match="is a damaged GGUF file: ") as raised:
        import_gguf(gguf, gguf.parent)
    assert raised.value.where == str(gguf)
    return raised.value.problem


TYPES = b"tokenizer.ggml.token_type" + bytes([9, 0, 0, 0, 5, 0, 0, 0])  # an array of 32-bit integers


@pytest.mark.r5(58, REFUSED)
def test_a_gguf_list_that_would_go_on_beyond_the_end_of_the_file_is_refused_at_once(gguf):
    problem = damaged(gguf, TYPES + (6).to_bytes(8, "little"), TYPES + (1 << 40).to_bytes(8, "little"))
    assert problem.endswith("it ends too soon")


@pytest.mark.r5(58, REFUSED)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"smollm", b"smol\xffm"),
        (b"a b", b"a z"),
        (b"tokenizer.ggml.bos_token_id\4\0\0\0\0", b"tokenizer.ggml.bos_token_id\4\0\0\0\x99"),
        (np.float32(10_000).tobytes(), np.float32(0).tobytes()),
    ],
    ids=["text that is none", "a merge of an unknown token", "an id beyond the vocabulary", "a rope without a base"],
)
def test_a_gguf_header_that_makes_no_sense_is_refused(before, after, gguf):
    damaged(gguf, before, after)
