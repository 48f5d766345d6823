import json
import shutil

import pytest

from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.safety import check_small_files, select

COMPLETE = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]


@pytest.fixture
def small(tiny_base, tmp_path):
    for name in ("config.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tiny_base / name, tmp_path / name)
    return tmp_path


def change(path, **changes):
    write_json(path, {**read_json(path), **changes})


def test_only_what_makes_the_model_is_taken():
    others = ["README.md", "modeling.py", "pytorch_model.bin", "consolidated.safetensors", "original/x.pth", "x.json"]
    others += ["model.fp16.safetensors", "model/../../../model.safetensors", "/model.safetensors"]
    small, weights = select([*COMPLETE, "chat_template.jinja", *others], "here")
    assert small == ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"]
    assert weights == ["model.safetensors"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "a.pth", "a.ckpt", "model.pkl"])
def test_weights_that_could_run_code_are_refused(name):
    with pytest.raises(BaseModelError, match=f"only as {name}, a format that can run code"):
        select([*COMPLETE[:3], name], "here")


@pytest.mark.parametrize("missing", COMPLETE)
def test_an_incomplete_folder_is_refused_by_what_it_lacks(missing):
    with pytest.raises(BaseModelError, match=rf"here: lacks {missing}\n"):
        select([name for name in COMPLETE if name != missing], "here")


def test_a_supported_model_passes(small):
    check_small_files(small, "here")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused(file, small):
    change(small / file, auto_map={"AutoModel": "modeling.Mine"})
    with pytest.raises(BaseModelError, match=f"here: {file} has auto_map"):
        check_small_files(small, "here")
    check_small_files(small, "here", reviewed=True)


@pytest.mark.parametrize("named", [["MambaForCausalLM"], [], None, "LlamaForCausalLM", ["LlamaForCausalLM", "X"], [3]])
def test_an_architecture_that_cannot_be_converted_later_is_refused_now(named, small):
    change(small / "config.json", architectures=named)
    with pytest.raises(BaseModelError, match="cannot be trained here") as raised:
        check_small_files(small, "here")
    assert "LlamaForCausalLM, MistralForCausalLM" in raised.value.hint


def test_weights_that_are_already_quantized_are_refused(small):
    change(small / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(BaseModelError, match="already quantized"):
        check_small_files(small, "here")


@pytest.mark.parametrize("text", ["", "{", "[]", '"LlamaForCausalLM"', "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(text, small):
    (small / "config.json").write_text(text)
    with pytest.raises(BaseModelError) as raised:
        check_small_files(small, "here")
    assert raised.value.where == str(small / "config.json")


def test_nothing_is_believed_about_a_config_with_the_wrong_types(small):
    (small / "config.json").write_text(json.dumps({"architectures": {"a": 1}, "quantization_config": "x"}))
    with pytest.raises(BaseModelError):
        check_small_files(small, "here")


@pytest.mark.parametrize("key", ["hidden_size", "max_position_embeddings", "num_hidden_layers", "vocab_size"])
@pytest.mark.parametrize("value", [None, 0, -1, "64", 1.5])
def test_a_config_without_its_sizes_is_refused(key, value, small):
    change(small / "config.json", **{key: value})
    with pytest.raises(BaseModelError, match=f"no usable {key}"):
        check_small_files(small, "here")


@pytest.mark.parametrize("template", [None, "", [], [{"name": "tool_use", "template": "no"}], 3, [3]])
def test_a_model_without_a_chat_template_is_refused(template, small):
    (small / "chat_template.jinja").unlink()
    change(small / "tokenizer_config.json", chat_template=template)
    with pytest.raises(BaseModelError, match="has no chat template") as raised:
        check_small_files(small, "here")
    assert "instruct variant" in raised.value.hint
