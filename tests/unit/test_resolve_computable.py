"""What llama.cpp computes otherwise than transformers is refused, or left out of reach, before anything is trained."""

import shutil
from pathlib import Path

import pytest

from ollamake.base import Base
from ollamake.errors import BaseModelError, ParamsError
from ollamake.files import read_json, write_json
from ollamake.gguf import metadata
from ollamake.resolve import computable, safety, shelf
from ollamake.resolve.computable import check_computable, within_window
from ollamake.resolve.folder import LocalFolder
from ollamake.resolve.safety import check_small_files
from ollamake.tokens.judge import refuse_length
from tests.architectures import write_model

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
GEMMA_27B = {"num_hidden_layers": 46, "hidden_size": 4608, "num_attention_heads": 32, "head_dim": 128}


def config(name, **content):
    return {"architectures": [f"{name}ForCausalLM"], **SIZES, **content}


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (config("Llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0}), "scaled by dynamic"),
        (config("Llama", rope_scaling={"type": "ntk"}), "scaled by ntk"),
        (config("Llama", rope_scaling={"type": ["yarn"]}), "scaled by"),
        (config("Gemma3", head_dim=256, rope_parameters={"full_attention": {"rope_type": "dynamic"}}), "dynamic"),
        (config("Mistral", sliding_window=24, rope_scaling={"type": "yarn"}), "a sliding window and a scaled rope"),
        (config("Phi", intermediate_size=128), "intermediate_size is 128, .* always writes 256"),
        (config("Phi"), "intermediate_size is 8192"),
        (config("Gemma2", head_dim=32, query_pre_attn_scalar=16), "query_pre_attn_scalar is 16, .* by 32"),
        (config("Gemma2", **GEMMA_27B, query_pre_attn_scalar=128), "query_pre_attn_scalar is 128, .* by 144"),
        (config("Gemma3", head_dim=32), "query_pre_attn_scalar is 256"),
    ],
)
def test_a_config_that_llama_cpp_computes_otherwise_is_refused(made, problem):
    with pytest.raises(BaseModelError, match=problem) as raised:
        check_computable(made, "here")
    assert raised.value.where == "here"
    assert "models/catalog.yaml" in raised.value.hint


@pytest.mark.parametrize(
    "made",
    [
        config("Llama", rope_scaling=None),
        config("Llama", rope_scaling={"type": "linear", "factor": 2.0}),
        config("Llama", rope_parameters={"rope_type": "llama3"}),
        config("Phi3", rope_scaling={"type": "su"}, sliding_window=262144),
        config("Mistral", rope_scaling={"type": "yarn"}, sliding_window=None),
        config("Phi", intermediate_size=256),
        config("Gemma2"),
        config("Gemma2", **GEMMA_27B, query_pre_attn_scalar=144),
        config("Gemma3", rope_scaling={"rope_type": "linear", "factor": 8.0}),
    ],
)
def test_a_config_that_llama_cpp_computes_passes(made):
    check_computable(made, "here")


def test_fetch_refuses_it_with_the_other_small_files(tiny_base, tmp_path):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "model"))
    content = read_json(folder / "config.json")
    write_json(folder / "config.json", {**content, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}})
    with pytest.raises(BaseModelError, match="scaled by dynamic"):
        check_small_files(folder, "here")


@pytest.mark.parametrize(
    ("made", "context"),
    [
        (config("Mistral", sliding_window=24), 24),
        (config("Mixtral", sliding_window=24), 24),
        (config("Phi3", sliding_window=24), 24),
        (config("Mistral", max_position_embeddings=32768), 4096),  # what transformers takes
        (config("Mistral", sliding_window=None), 512),
        (config("Mixtral"), 512),
        (config("Phi3", sliding_window=512), 512),
        (config("Qwen2", sliding_window=24), 512),
        (config("Qwen3", sliding_window=24, use_sliding_window=False), 512),
        (config("Qwen3", sliding_window=24, use_sliding_window=True), 24),
        (config("Gemma2", sliding_window=24), 512),
        (config("Llama", sliding_window=24), 512),
    ],
)
def test_the_context_ends_where_a_window_does_that_gets_lost(made, context):
    assert within_window(made)["max_position_embeddings"] == context
    assert within_window(within_window(made)) == within_window(made)


@pytest.mark.slow
def test_a_model_with_a_window_is_fetched_with_less_context_also_over_an_earlier_fetch(
    smollm2_tokenizer, tmp_path, monkeypatch, capsys
):
    folder = write_model("mistral", tmp_path / "model", tokenizer_from=smollm2_tokenizer)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "sliding_window": 24})
    fetched = []

    def fetch():
        record = shelf.fetch(LocalFolder(folder), tmp_path / "store")
        fetched.append(Base(tmp_path / "store/base" / record["key"], record))
        return fetched[-1]

    with monkeypatch.context() as before:
        before.setattr("ollamake.resolve.tidy.within_window", dict)
        assert fetch().context_length == 512
    assert fetch().context_length == 24
    assert "ends with its sliding window, at 24 tokens" in capsys.readouterr().err
    assert fetch().folder == fetched[1].folder
    assert capsys.readouterr().err == ""
    with pytest.raises(ParamsError, match="max_length is 25, but model reads 24 tokens at most"):
        refuse_length(25, fetched[1])


def test_convert_knows_the_same_scalings_and_windows_and_no_other_architectures():
    assert tuple(metadata.ROPE_SCALINGS) == computable.ROPE_SCALINGS
    assert metadata.WINDOW_LOST == computable.WINDOW_LOST
    assert metadata.WINDOW_LOST_IF_USED == computable.WINDOW_LOST_IF_USED
    assert {*metadata.WINDOW_LOST, *metadata.WINDOW_LOST_IF_USED, *metadata.WINDOW_KEPT} < {*safety.ARCHITECTURES}
