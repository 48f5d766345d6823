"""Packed rows against the same rows alone, in numbers: no conversation sees another, and no loss crosses over."""

from shutil import which

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
    Qwen2Config,
)
from transformers.utils import is_flash_attn_2_available

from ollamake.errors import ParamsError
from ollamake.labels import IGNORE_INDEX
from ollamake.sft.batch import collate
from ollamake.sft.examples import Row
from ollamake.sft.isolation import TOLERANCE, leak, require_isolation
from ollamake.sft.loss import SupervisedTrainer

WORDS = {"vocab_size": 200, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZES = {
    **WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**SIZES, num_key_value_heads=2),
    # A window shorter than a row, in one layer of the two.
    "gemma3": lambda: Gemma3TextConfig(
        **SIZES,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "gpt2": lambda: GPT2Config(**WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),  # learned positions
}
RANDOM = np.random.default_rng(1)
PACKS = [
    [
        Row(
            ids := RANDOM.integers(3, 200, length, np.int32),
            np.where(np.arange(length) < length // 2, IGNORE_INDEX, ids),
        )
        for length in pack
    ]
    for pack in ((9, 14, 1, 6), (5, 11), (2, 7))
]
# The whole of a row as target, its first token too, as tokenize leaves texts without BOS.
PACKS[1][1] = Row(PACKS[1][1].input_ids, PACKS[1][1].input_ids)
ROUNDING = 1e-5


def tiny(architecture, attention):
    torch.manual_seed(0)
    config = CONFIGS[architecture]() if isinstance(architecture, str) else AutoConfig.from_pretrained(architecture)
    config.initializer_range = 0.2  # so that what a token sees shows
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    return model.eval()


def logits_alone(model):
    return [model(input_ids=ids_of(row)[None], use_cache=False).logits[0] for pack in PACKS for row in pack]


def logits_packed(model, **changes):
    batch = collate(PACKS) | changes
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    rows = [
        line[: sum(map(length, pack))].split(list(map(length, pack))) for line, pack in zip(logits, PACKS, strict=True)
    ]
    return [piece for line in rows for piece in line]


def loss_alone(model):
    total, count = torch.zeros(()), 0
    for row, logits in zip([row for pack in PACKS for row in pack], logits_alone(model), strict=True):
        targets = torch.from_numpy(row.labels[1:].astype(np.int64))
        total = total + cross_entropy(logits[:-1], targets, ignore_index=IGNORE_INDEX, reduction="sum")
        count += int((targets != IGNORE_INDEX).sum())
    return total / count


def loss_packed(model, **changes):
    batch = collate(PACKS) | changes
    del batch["lengths"]
    return SupervisedTrainer.compute_loss(None, model, batch)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def apart(left, right):
    """The distance of two tensors, as a share of the length of the second."""
    return ((left - right).norm() / right.norm()).item()


def ids_of(row):
    return torch.from_numpy(row.input_ids.astype(np.int64))


def length(row):
    return len(row.input_ids)


def without_restarts(batch):
    return torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_logits_and_gradients_of_packed_rows_are_those_of_the_rows_alone(architecture, attention):
    model = tiny(architecture, attention)
    assert model.config._attn_implementation == attention
    pairs = list(zip(logits_packed(model), logits_alone(model), strict=True))
    assert len(pairs) == 8
    assert max(apart(packed, alone) for packed, alone in pairs) < ROUNDING
    assert apart(loss_packed(model), loss_alone(model)) < ROUNDING
    packed, alone = gradients(model, loss_packed(model)), gradients(model, loss_alone(model))
    assert len(packed) > 15
    assert {
        name: apart(packed[name], alone[name]) for name in alone if apart(packed[name], alone[name]) > ROUNDING
    } == {}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_same_holds_for_the_tiny_model_that_the_builds_of_the_tests_use(tiny_base, attention):
    model = tiny(tiny_base, attention)
    for packed, alone in zip(logits_packed(model), logits_alone(model), strict=True):
        assert apart(packed, alone) < ROUNDING
    packed, alone = gradients(model, loss_packed(model)), gradients(model, loss_alone(model))
    for name, gradient in alone.items():
        assert apart(packed[name], gradient) < ROUNDING, name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_planted_leak_is_seen_by_the_same_comparisons(architecture, attention):
    model, positions = tiny(architecture, attention), without_restarts(collate(PACKS))
    leaking, alone = logits_packed(model, position_ids=positions), logits_alone(model)
    far = [apart(left, right) > 0.1 for left, right in zip(leaking, alone, strict=True)]
    first_of_pack = [place == 0 for pack in PACKS for place in range(len(pack))]
    assert far == [not first for first in first_of_pack]
    planted, honest = gradients(model, loss_packed(model, position_ids=positions)), gradients(model, loss_alone(model))
    assert min(apart(planted[name], honest[name]) for name in honest) > 0.01


def test_a_planted_loss_across_a_boundary_is_seen():
    model, batch = tiny("llama", "sdpa"), collate(PACKS)
    labels = batch["labels"].clone()
    labels[1, length(PACKS[1][0])] = int(PACKS[1][1].input_ids[0])
    assert apart(loss_packed(model, labels=labels), loss_alone(model)) > 10 * ROUNDING


@pytest.mark.slow
@pytest.mark.skipif(which("g++") is None, reason="FlexAttention is compiled: needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch 2.13 deprecates
def test_flex_attention_gives_the_same_logits():
    model = tiny("llama", "flex_attention").requires_grad_(requires_grad=False)  # it has no backward pass on a CPU
    alone = logits_alone(tiny("llama", "eager"))  # each length would be compiled anew
    assert max(apart(*pair) for pair in zip(logits_packed(model), alone, strict=True)) < ROUNDING
    leaking = logits_packed(model, position_ids=without_restarts(collate(PACKS)))
    assert apart(leaking[1], alone[1]) > 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has no backward pass on a CPU: needs a GPU")
def test_flex_attention_gives_the_same_gradients():
    model = tiny("llama", "flex_attention").cuda()
    batch = {name: tensor.cuda() for name, tensor in collate(PACKS).items() if name != "lengths"}
    packed = gradients(model, SupervisedTrainer.compute_loss(None, model, batch))
    reference = tiny("llama", "eager")
    for name, gradient in gradients(reference, loss_alone(reference)).items():
        assert apart(packed[name].cpu(), gradient) < 1e-3, name


@pytest.mark.gpu
@pytest.mark.skipif(not is_flash_attn_2_available(), reason="flash-attn is not installed: it needs a GPU")
def test_flash_attention_keeps_the_rows_of_one_pack_apart():
    model = tiny("llama", "flash_attention_2").to("cuda", torch.bfloat16)
    batch = {name: tensor.cuda() for name, tensor in collate(PACKS[:1]).items()}
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        alone = torch.cat([model(input_ids=ids_of(row)[None].cuda(), use_cache=False).logits[0] for row in PACKS[0]])
    assert ((logits - alone).square().mean().sqrt() / alone.std()).item() < TOLERANCE


def test_padding_is_a_document_of_its_own_and_carries_no_loss():
    batch = collate(PACKS)
    assert set(batch) == {"input_ids", "labels", "position_ids", "lengths"}
    assert batch["lengths"].tolist() == [30, 16, 9]
    assert batch["position_ids"][2].tolist() == [0, 1, *range(7), *range(21)]
    assert (batch["labels"][2, 9:] == IGNORE_INDEX).all()
    longer = [*PACKS, [PACKS[0][1]] * 4]
    model = tiny("llama", "sdpa")
    narrow = model(**{key: value for key, value in batch.items() if key in ("input_ids", "position_ids")}).logits
    wide = collate(longer)
    wide = model(input_ids=wide["input_ids"], position_ids=wide["position_ids"]).logits
    assert apart(wide[2, :9], narrow[2, :9]) < ROUNDING


def test_the_first_token_of_a_row_is_never_a_target():
    labels = collate([[row._replace(labels=row.input_ids) for row in pack] for pack in PACKS])["labels"]
    starts = collate(PACKS)["position_ids"] == 0
    assert starts.sum() == 8 + 2  # eight rows, and the padding of two lines
    assert (labels[starts] == IGNORE_INDEX).all()
    assert (labels != IGNORE_INDEX).sum() == sum(length(row) - 1 for pack in PACKS for row in pack)


def test_rows_that_are_not_packed_come_with_an_attention_mask():
    batch = collate([PACKS[0][:1], PACKS[1][1:]])
    assert set(batch) == {"input_ids", "labels", "attention_mask", "lengths"}
    assert batch["attention_mask"].tolist() == [[1] * 9 + [0] * 2, [1] * 11]


@pytest.mark.parametrize("architecture", CONFIGS)
def test_models_that_keep_rows_apart_are_accepted(architecture):
    model = tiny(architecture, "eager")
    assert leak(model) < 1e-5
    require_isolation(model)


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(**WORDS, hidden_size=32, num_hidden_layers=2, state_size=8),
        OPTConfig(
            **WORDS,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
        ),
    ],
    ids=["a recurrent one", "one whose mask ignores positions"],
)
def test_a_model_that_would_mix_packed_rows_is_refused(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(
        ParamsError, match=r"packing: \w+ForCausalLM lets the conversations .* read each other"
    ) as error:
        require_isolation(model)
    assert "-S packing=false" in error.value.hint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_tells_a_leak_from_rounding(tiny_base, dtype):
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=dtype)
    assert leak(model) < TOLERANCE / 3
    forward = model.forward

    def without_positions(position_ids=None, **inputs):
        return forward(**inputs)

    model.forward = without_positions
    assert leak(model) > TOLERANCE * 3
