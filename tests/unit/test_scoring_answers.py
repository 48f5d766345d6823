"""Answers in batches: those of each prompt asked alone, in every family of models, and no more work than that takes."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ollamake.scoring import answers
from ollamake.scoring.answers import Greedy
from ollamake.scoring.items import Item
from ollamake.scoring.model import computing

VOCABULARY, WINDOW, MAX_NEW_TOKENS = 300, 8, 24
ENDS = frozenset({2, 3, 5, 7, 11, 13, 17, 19, 23, 29})  # so many that rows end at different times
BEGINNING = [31, 41, 59, 26, 53, 58]
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "mistral", "mixtral")


class Numbers:
    """A tokenizer whose text is the ids."""

    def decode(self, ids, **_):
        return " ".join(map(str, ids))


def tiny(family, dtype=torch.float32):
    """A random model of the family whose layers, where the family has such, look back no further than WINDOW tokens."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCABULARY}
    sizes |= {} if family == "llama" else {"sliding_window": WINDOW}  # Llama would not look at it, but its cache would
    sizes |= {"max_position_embeddings": 256, "initializer_range": 0.5, "tie_word_embeddings": False}
    config = AutoConfig.for_model(family, **sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.fixture(scope="module")
def items():
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(30, VOCABULARY, (4 + number,), generator=generator).tolist() for number in range(16)]
    return [Item(str(number), prompt, prompt, len(prompt), "?", "!") for number, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def alike(items):
    """The same items after one beginning, as a system prompt is one."""
    prompts = [BEGINNING + item.prompt_ids for item in items]
    return [Item(item.id, prompt, prompt, len(prompt), "?", "!") for item, prompt in zip(items, prompts, strict=True)]


def text(ids):
    return " ".join(str(one) for one in ids if one not in ENDS)


def answered(model, items, batch_size, precision="fp32"):
    with computing(model, precision):
        return Greedy(ENDS, MAX_NEW_TOKENS, batch_size).answer(model, Numbers(), items, lambda _: None)


def alone(model, item):
    """The answer to one prompt without a cache: the whole sequence again for every token."""
    ids = list(item.prompt_ids)
    with torch.no_grad():
        while len(ids) < item.prompt_length + MAX_NEW_TOKENS and ids[-1] not in ENDS:
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[item.prompt_length :]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_in_a_batch_as_alone(family, alike):
    model = tiny(family)
    expected = [alone(model, item) for item in alike]
    found = answered(model, alike, 16)
    assert len({len(ids) for ids in expected}) > 3
    assert [answer.text for answer in found] == [text(ids) for ids in expected]
    assert [answer.new_tokens for answer in found] == [len(ids) for ids in expected]


@pytest.mark.parametrize(("family", "read"), [("llama", [(1, 6), (16, 19)]), ("mistral", [(16, 25)])])
def test_what_all_prompts_begin_with_is_read_once_but_beside_a_sliding_window(alike, family, read):
    model, shapes = tiny(family), []
    model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    answered(model, alike, 16)
    assert shapes[: len(read)] == read


def test_rows_that_have_ended_are_not_computed_for_long(items):
    model, rows = tiny("llama"), []
    model.register_forward_pre_hook(lambda _, __, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    said = sum(answer.new_tokens for answer in answered(model, items, 16))
    assert rows[0] == 16
    assert len(rows) == MAX_NEW_TOKENS
    assert said <= sum(rows) <= said * (1 + 2 * answers.ENDED_SHARE)


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_on_a_cpu_answers_are_those_of_fp32_whatever_the_weights_and_the_precision(items, precision):
    rounded = tiny("llama", torch.bfloat16)
    exact = tiny("llama")
    exact.load_state_dict(rounded.state_dict())
    expected = [text(alone(exact, item)) for item in items]
    assert [answer.text for answer in answered(rounded, items, 5, precision)] == expected


def test_a_batch_has_no_more_rows_than_asked_for_nor_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(answers, "BATCH_TOKENS", 100)
    greedy = Greedy(ENDS, 10, 3)
    assert [greedy._fits(count, 15) for count in (1, 3, 4)] == [True, True, False]
    assert [greedy._fits(count, 40) for count in (1, 2, 3)] == [True, True, False]
