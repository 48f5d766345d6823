"""The prompt side of a base model, as training had it."""

import shutil

from ollamake.base import Base
from ollamake.files import read_json, write_json
from ollamake.gguf.prompts import Prompts

TEXT = "list all the files that are older than a week"


def test_a_truncation_or_padding_in_the_tokenizer_file_changes_no_prompt(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    content = read_json(folder / "tokenizer.json")
    content["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<|im_end|>",
    }
    write_json(folder / "tokenizer.json", content)
    assert Prompts.of(Base(folder, {})).ids(TEXT) == Prompts.of(Base(tiny_base, {})).ids(TEXT)
