"""The trained model judges with one layer in memory as it would with all of them."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ollamake.base import Base
from ollamake.gguf import layerwise, reference
from ollamake.gguf.merge import TrainedWeights
from ollamake.gguf.reference import TrainedModel
from ollamake.gguf.runtime import Transcript
from ollamake.gguf.whole import load_trained
from ollamake.quiet import quiet_loading
from tests.architectures import write_model
from tests.unit.test_gguf_merge import ATTENTION, adapt

CASES = {
    "llama": {"use_dora": True},
    "qwen2": {"bias": "all"},
    "gemma2": {},  # its logits are capped, its attention slides
    "gemma3": {},
    "phi3": {"use_rslora": True},
}


def transcripts(words: int) -> list[Transcript]:
    draw = random.Random(0)  # noqa: S311  # a fixed sequence is wanted
    sizes = [(40, 9), (3, 1), (17, 12), (17, 4), (1, 6), (33, 2)]
    rows = [[draw.randrange(words) for _ in range(prompt + answer)] for prompt, answer in sizes]
    return [
        Transcript(tuple(row[:prompt]), tuple(row[prompt:]), (None,) * answer, "", stopped=False)
        for row, (prompt, answer) in zip(rows, sizes, strict=True)
    ]


def judged_alone(model, said: Transcript):
    with torch.no_grad():
        logits = model(torch.tensor([said.prompt + said.answer])).logits[0, len(said.prompt) - 1 : -1]
    scores = logits.log_softmax(-1)[torch.arange(len(said.answer)), torch.tensor(said.answer)]
    return tuple(logits.argmax(-1).tolist()), scores.tolist()


def numbers_in_memory(trained):
    return sum(one.untyped_storage().nbytes() // 4 for one in trained._model.parameters() if one.dim() > 1)


def assert_same_judgements(base: Path, tuned: Path):
    trained, model = TrainedModel(Base(base, {}), tuned), load_trained(base, tuned)
    said = transcripts(model.config.vocab_size)
    before = numbers_in_memory(trained)
    found = trained.judge([*said, said[0]])
    assert found[-1] is found[0]
    for one, judgement in zip(said, found, strict=False):
        choices, logprobs = judged_alone(model, one)
        assert judgement.first_choices == choices
        assert judgement.logprobs == pytest.approx(logprobs, abs=1e-4)
    assert numbers_in_memory(trained) == before
    return trained, model


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_a_layer_at_a_time_judges_as_the_whole_model_does(name, smollm2_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "PASS_TOKENS", 64)  # several passes, some of several rows
    base = write_model(name, tmp_path / "base", tokenizer_from=smollm2_tokenizer)
    merged = adapt(base, tmp_path / "tuned", **CASES[name])
    trained, model = assert_same_judgements(base, tmp_path / "tuned")
    assert numbers_in_memory(trained) < 0.1 * sum(parameter.numel() for parameter in model.parameters())
    down = "model.layers.0.mlp.down_proj"
    assert trained.weight("model.layers.0.no_proj") is None
    assert torch.equal(torch.from_numpy(trained.weight(down)), merged[f"{down}.weight"])
    assert torch.equal(torch.from_numpy(trained.weight(down)), merged[f"{down}.weight"])  # and the second time
    parts = list(trained.rows(down, 20))
    assert torch.equal(torch.from_numpy(np.concatenate(parts)), merged[f"{down}.weight"])
    untuned = model.get_base_model().get_submodule(down).get_base_layer().weight
    assert torch.equal(torch.from_numpy(trained.weight(down, adapted=False)), untuned)


@pytest.mark.slow
def test_a_whole_model_is_its_own_base(tiny_base):
    trained, model = assert_same_judgements(tiny_base, tiny_base)
    assert numbers_in_memory(trained) < 1000
    rows = list(trained.rows("model.embed_tokens", 10_000))
    assert [len(part) for part in rows] == [10_000] * 4 + [49152 - 40_000]
    assert torch.equal(torch.from_numpy(np.concatenate(rows)), model.lm_head.weight)
    assert list(trained.rows("model.no_tokens", 10_000)) == []
    assert torch.equal(torch.from_numpy(trained.weight("lm_head")), model.lm_head.weight)


@pytest.mark.slow
def test_joined_experts_are_judged_with_all_in_memory(smollm2_tokenizer, tmp_path):
    base = write_model("mixtral", tmp_path / "base", tokenizer_from=smollm2_tokenizer)
    merged = adapt(base, tmp_path / "tuned", target_modules=ATTENTION)
    trained, model = assert_same_judgements(base, tmp_path / "tuned")
    assert numbers_in_memory(trained) > 0.9 * sum(parameter.numel() for parameter in model.parameters())
    name = "model.layers.1.self_attn.q_proj"
    assert torch.equal(torch.from_numpy(trained.weight(name)), merged[f"{name}.weight"])
    assert torch.equal(torch.from_numpy(next(trained.rows(name, 8))), merged[f"{name}.weight"][:8])
    said = transcripts(model.config.vocab_size)
    assert trained.judge(said) == TrainedModel(Base(base, {}), tmp_path / "tuned").judge(said)


@pytest.mark.slow
def test_an_output_matrix_of_its_own_that_config_ties_to_the_embedding_is_judged_as_transformers_loads_it(
    smollm2_tokenizer, tmp_path
):
    base = write_model("qwen2", tmp_path / "base", tokenizer_from=smollm2_tokenizer)
    tensors = load_file(base / "model.safetensors")
    assert "lm_head.weight" not in tensors
    embedding = tensors["model.embed_tokens.weight"]
    noise = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0))
    tensors["lm_head.weight"] = embedding + 0.3 * noise
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with quiet_loading():
        assert_same_judgements(base, base)


def test_no_adapter_is_loaded_for_a_model_that_is_not_taken_a_layer_at_a_time(smollm2_tokenizer, tmp_path, monkeypatch):
    base = write_model("mixtral", tmp_path / "base", tokenizer_from=smollm2_tokenizer)
    adapt(base, tmp_path / "tuned", target_modules=ATTENTION)
    monkeypatch.setattr(layerwise, "add_adapter", None)
    assert layerwise.load_layerwise(TrainedWeights(base, tmp_path / "tuned"), tmp_path / "tuned") is None


@pytest.mark.parametrize(("tokens", "share", "passes"), [(10**6, 1, 1), (1, 1, 6), (10**6, 13 / 64, 3)])
def test_passes_are_as_few_as_the_limits_allow(tokens, share, passes, tiny_base, monkeypatch):
    monkeypatch.setattr(reference, "PASS_TOKENS", tokens)
    monkeypatch.setattr(reference, "LOGITS_SHARE", share)
    trained, said = TrainedModel(Base(tiny_base, {}), tiny_base), transcripts(49152)
    batches = list(trained._batches({(one.prompt, one.answer) for one in said}))
    assert len(batches) == passes
    assert sorted(key for batch in batches for key in batch) == sorted((one.prompt, one.answer) for one in said)
