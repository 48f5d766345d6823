import shutil

import pytest
from transformers import AutoTokenizer

from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.tidy import tidy
from ollamake.resolve.tokenizer_parity import check_against_transformers


@pytest.fixture
def model(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "model")


def change(path, **changes):
    write_json(path, {**read_json(path), **changes})


def test_a_tidy_folder_stays_as_it_is(model):
    tidy(model)
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    tidy(model)
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
    assert {oct(file.stat().st_mode)[-3:] for file in model.iterdir()} == {"644"}


@pytest.mark.parametrize(
    "as_kept",
    [
        lambda text: text,
        lambda text: [{"name": "tool_use", "template": "no"}, {"name": "default", "template": text}],
    ],
)
def test_a_chat_template_inside_tokenizer_config_moves_to_its_own_file(as_kept, model):
    text = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    change(model / "tokenizer_config.json", chat_template=as_kept(text))
    tidy(model)
    assert (model / "chat_template.jinja").read_text() == text
    assert "chat_template" not in read_json(model / "tokenizer_config.json")


def test_traces_of_the_machine_are_removed(model):
    change(model / "config.json", _name_or_path="/home/someone/model", auto_map={"a": "b"})
    change(model / "tokenizer_config.json", is_local=True, local_files_only=True, name_or_path="/home/someone/model")
    change(model / "generation_config.json", _from_model_config=True)
    tidy(model)
    text = "".join(file.read_text() for file in model.glob("*config.json"))
    traces = ("someone", "is_local", "local_files_only", "_from_model_config", "auto_map")
    assert [trace for trace in traces if trace in text] == []


def test_a_missing_generation_config_is_made_from_the_config(model):
    (model / "generation_config.json").unlink()
    change(model / "config.json", eos_token_id=[2, 0])
    tidy(model)
    assert read_json(model / "generation_config.json") == {"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 2}


def test_the_hub_tokenizer_of_smollm2_is_read_as_it_stands(model):
    change(model / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")  # as HuggingFaceTB publishes it
    loaded = AutoTokenizer.from_pretrained(model)
    assert "Digits" not in repr(loaded.backend_tokenizer.pre_tokenizer)  # the trap: transformers 5 puts GPT-2's in
    with pytest.raises(BaseModelError, match="transformers' tokenizer differ on"):
        check_against_transformers(model)
    tidy(model)
    check_against_transformers(model)


def test_a_tokenizer_config_that_transformers_cannot_read_is_refused(model):
    change(model / "tokenizer_config.json", eos_token=3)
    with pytest.raises(BaseModelError, match="cannot load the tokenizer"):
        check_against_transformers(model)
