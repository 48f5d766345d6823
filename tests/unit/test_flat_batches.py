"""Rows one behind the other against the same rows alone, in numbers: none sees another, and no loss crosses over."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from ollamake.labels import IGNORE_INDEX
from ollamake.training import attention, isolation
from ollamake.training.attention import Rows
from ollamake.training.batch import flat, padded
from ollamake.training.examples import Row
from ollamake.training.isolation import isolate, plain_head

WORDS = {"vocab_size": 200, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZES = {
    **WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
# A window shorter than a row, in one layer of the two.
WINDOWED = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES, num_key_value_heads=2),
    "mistral": lambda: MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=5),
    "phi3": lambda: Phi3Config(**SIZES, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**SIZES, num_key_value_heads=2),
    "qwen3": lambda: Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "gemma2": lambda: Gemma2Config(**SIZES, **WINDOWED, num_key_value_heads=2, query_pre_attn_scalar=8),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, **WINDOWED, num_key_value_heads=2),
    # Learned positions.
    "gpt2": lambda: GPT2Config(**WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "opt": lambda: OPTConfig(
        **WORDS,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        init_std=0.2,
    ),
}
RANDOM = np.random.default_rng(1)
ROWS = [
    Row(ids := RANDOM.integers(3, 200, length, np.int32), np.where(np.arange(length) < length // 2, IGNORE_INDEX, ids))
    for length in (9, 14, 1, 6, 5, 11, 2)
]
ROUNDING = 1e-5


def tiny(architecture, implementation="eager"):
    torch.manual_seed(0)
    config = CONFIGS[architecture]() if isinstance(architecture, str) else AutoConfig.from_pretrained(architecture)
    config.initializer_range = 0.2  # so that what a token sees shows
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation, dtype=torch.float32)
    return model.eval()


def logits_alone(model):
    ids = [torch.from_numpy(row.input_ids.astype(np.int64)) for row in ROWS]
    return [model(input_ids=row[None], use_cache=False).logits[0] for row in ids]


def logits_together(model, lengths=None, rows=ROWS):
    batch = flat([rows])
    layout = Rows(lengths or batch["lengths"].tolist(), torch.device("cpu"))
    logits = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False, rows=layout
    ).logits
    return logits[0].split([len(row.input_ids) for row in rows])


def loss_of(logits, rows=ROWS):
    targets = [torch.from_numpy(row.labels[1:].astype(np.int64)) for row in rows]
    return cross_entropy(torch.cat([line[:-1] for line in logits]), torch.cat(targets), ignore_index=IGNORE_INDEX)


def gradients(model, logits):
    model.zero_grad()
    loss_of(logits).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def apart(left, right):
    """The distance of two tensors, as a share of the length of the second."""
    return ((left - right).norm() / right.norm()).item()


@pytest.fixture(params=["padded inside attention", "row by row"])
def kernel(request, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(attention, "SHORT_TOKENS", 0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_logits_and_gradients_of_rows_together_are_those_of_the_rows_alone(architecture, kernel):
    model = tiny(architecture)
    alone = logits_alone(model)
    expected = gradients(model, alone)
    assert isolate(model)
    together = logits_together(model)
    assert max(apart(*pair) for pair in zip(together, alone, strict=True)) < ROUNDING
    found = gradients(model, together)
    assert len(found) > 10
    # Keys without rotation: a bias on them changes nothing, and its gradient is rounding alone.
    weighed = [name for name, gradient in expected.items() if gradient.norm() > ROUNDING]
    assert len(weighed) >= len(expected) - 2
    assert {
        name: apart(found[name], expected[name]) for name in weighed if apart(found[name], expected[name]) > ROUNDING
    } == {}


def test_the_same_holds_for_the_tiny_model_that_the_builds_of_the_tests_use(narrow_base, kernel):
    model = tiny(narrow_base, "sdpa")
    alone = logits_alone(model)
    assert isolate(model)
    for together, expected in zip(logits_together(model), alone, strict=True):
        assert apart(together, expected) < ROUNDING


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_planted_leak_is_seen_by_the_same_comparison(architecture, kernel):
    model = tiny(architecture)
    alone = logits_alone(model)
    assert isolate(model)
    leaking = logits_together(model, lengths=[9 + 14, 1 + 6 + 5, 11 + 2])
    far = [apart(left, right) > 0.05 for left, right in zip(leaking, alone, strict=True)]
    assert far == [False, True, False, True, True, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="variable-length FlashAttention needs a GPU")
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3"])
def test_flash_attention_on_a_gpu_gives_the_same_logits(architecture):
    model = tiny(architecture).to("cuda", torch.bfloat16)
    batch = {name: tensor.cuda() for name, tensor in flat([ROWS]).items()}
    alone = [line.float() for row in ROWS for line in model(torch.tensor(row.input_ids)[None].long().cuda()).logits]
    assert isolate(model)
    layout = Rows(batch["lengths"].tolist(), torch.device("cuda"))
    inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
    logits = model(**inputs, use_cache=False, rows=layout).logits[0].float()
    assert apart(logits, torch.cat(alone)) < 0.05


def test_a_flat_batch_holds_every_token_once_and_no_padding():
    batch = flat([ROWS[:2], ROWS[2:]])
    assert batch["lengths"].tolist() == [9, 14, 1, 6, 5, 11, 2]
    assert {batch[name].shape for name in ("input_ids", "labels", "position_ids")} == {(1, 48)}
    assert batch["position_ids"][0, :24].tolist() == [*range(9), *range(14), 0]
    assert batch["input_ids"][0].tolist() == np.concatenate([row.input_ids for row in ROWS]).tolist()


@pytest.mark.parametrize("collate", [flat, padded])
def test_the_first_token_of_a_row_is_never_a_target(collate):
    everything = [row._replace(labels=row.input_ids) for row in ROWS]
    labels = collate([[row] for row in everything])["labels"]
    assert (labels != IGNORE_INDEX).sum() == sum(len(row.input_ids) - 1 for row in ROWS)
    assert all(row.labels[0] != IGNORE_INDEX for row in everything)  # the rows themselves are left as they are


def test_padded_rows_come_with_an_attention_mask():
    batch = padded([[ROWS[0]], [ROWS[5]]])
    assert batch["attention_mask"].tolist() == [[1] * 9 + [0] * 2, [1] * 11]
    assert batch["labels"][0, 9:].tolist() == [IGNORE_INDEX] * 2


def test_a_model_that_would_mix_rows_is_found_out_and_left_as_it_was():
    torch.manual_seed(0)
    config = MambaConfig(**WORDS, hidden_size=32, num_hidden_layers=2, state_size=8)
    model = AutoModelForCausalLM.from_config(config).eval()
    before, alone = model.config._attn_implementation, logits_alone(model)
    assert not isolate(model)
    assert model.config._attn_implementation == before
    assert all(torch.equal(*pair) for pair in zip(logits_alone(model), alone, strict=True))


def test_a_model_that_adds_to_attention_what_rows_leave_out_is_found_out(monkeypatch):
    model = tiny("llama")
    attend = attention.attend
    monkeypatch.setattr(
        attention, "attend", lambda *tensors, **options: attend(*tensors, **{**options, "scaling": 9.0})
    )
    assert not isolate(model)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_tells_a_leak_from_rounding(narrow_base, dtype, monkeypatch):
    model = AutoModelForCausalLM.from_pretrained(narrow_base, dtype=dtype)
    assert isolate(model)
    model.set_attn_implementation("sdpa")
    leaking = Rows([34], torch.device("cpu"))
    monkeypatch.setattr(isolation, "_layout", lambda model, rows: leaking)
    monkeypatch.setattr(isolation, "TOLERANCE", float("inf"))
    assert not isolate(model)


def test_a_model_still_answers_prompts_after_the_switch(narrow_base):
    model = AutoModelForCausalLM.from_pretrained(narrow_base)
    prompt = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]]),
        "attention_mask": torch.tensor([[1] * 4, [0, 0, 1, 1]]),
    }
    options = {"do_sample": False, "max_new_tokens": 6}
    before = model.generate(**prompt, **options)
    assert isolate(model)
    assert torch.equal(model.generate(**prompt, **options), before)


def test_a_plain_output_matrix_is_recognised_and_can_be_skipped():
    model = tiny("llama")
    head = plain_head(model)
    ids = torch.tensor([[5, 6, 7]])
    logits = model(ids).logits
    with head.skipped():
        hidden = model(ids).logits
    assert hidden.shape == (1, 3, 32)
    assert torch.equal(hidden @ head.matrix.weight.T, logits)
    assert torch.equal(model(ids).logits, logits)


def test_logits_that_are_more_than_a_product_are_not_skipped():
    model = tiny("gemma2")  # it caps them
    model.lm_head.weight.data *= 30
    assert plain_head(model) is None
