import hashlib
import json

import pytest

from ollamake.base import Base, open_base
from ollamake.errors import BaseModelError


def write(folder, generation, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    added = [{"id": 7, "content": "<|im_end|>"}, {"id": 8, "content": "<|other|>"}]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    return Base(folder, {})


@pytest.mark.parametrize(
    ("generation", "tokenizer", "ids"),
    [
        ({"eos_token_id": 7}, {"eos_token": "<|im_end|>"}, {7}),
        ({"eos_token_id": [0, 1]}, {"eos_token": "<|im_end|>"}, {0, 1, 7}),
        ({"eos_token_id": 0}, {"eos_token": {"content": "<|im_end|>"}}, {0, 7}),
        ({}, {"eos_token": "<|im_end|>"}, {7}),
        ({"eos_token_id": 3}, {}, {3}),
        ({"eos_token_id": None}, {"eos_token": "<|im_end|>"}, {7}),
    ],
)
def test_answers_end_at_every_token_that_the_folder_names(tmp_path, generation, tokenizer, ids):
    assert write(tmp_path, generation, tokenizer).end_ids == ids


def test_a_base_model_missing_from_the_store_is_told_with_the_command_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    files = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("config.json", "tokenizer.json")}
    record = {"name": "tiny", "key": "abc", "files": {**files, "model.safetensors": "not looked at"}}
    (tmp_path / "base.json").write_text(json.dumps(record))
    with pytest.raises(
        BaseModelError, match=r"lacks config.json, tokenizer.json.*\nhint: `dvc repro --force --single-item fetch`"
    ):
        open_base(tmp_path / "base.json")
    folder = tmp_path / ".ollamake/base/abc"
    folder.mkdir(parents=True)
    for name in record["files"]:
        (folder / name).write_text(name)
    assert open_base(tmp_path / "base.json").folder == folder
    (folder / "tokenizer.json").write_text("another")
    with pytest.raises(
        BaseModelError, match=r"tokenizer.json of base model tiny in the store: not what .*\nhint: `dvc repro --force"
    ):
        open_base(tmp_path / "base.json")
