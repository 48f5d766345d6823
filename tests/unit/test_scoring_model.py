import dataclasses
import math

import pytest
import torch
from tokenizers import Tokenizer

from ollamake.base import Base
from ollamake.chat import ChatTemplate
from ollamake.errors import BaseModelError, ParamsError
from ollamake.files import read_json, write_json
from ollamake.scoring.aggregate import Statistics
from ollamake.scoring.answers import Greedy
from ollamake.scoring.items import Item
from ollamake.scoring.loss import supervised_nats
from ollamake.scoring.model import computing, load_model
from ollamake.scoring.score import Examiner
from tests.contract.graph import code_of, third_party_of

PROMPTS = ["List files", "Show me every process that listens on port 8080, please", "tar?", "Count the lines of a file"]
# PEFT 0.21 asks transformers 5.23 for an attribute by its old name.
OLD_NAME = "ignore:.*is_gradient_checkpointing:FutureWarning"
END = 2  # <|im_end|>, and the padding token of this model as well


@pytest.fixture(scope="module")
def base(tiny_base):
    return Base(tiny_base, {"name": "tiny"})


@pytest.fixture(scope="module")
def model(base):
    """A model that answers every prompt in its own way: with its output tied to its input it would repeat one token."""
    model = load_model(base.folder, "fp32")
    shape, generator = model.lm_head.weight.shape, torch.Generator().manual_seed(0)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(shape, generator=generator) / 4)
    return model


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return Tokenizer.from_file(str(tiny_base / "tokenizer.json"))


@pytest.fixture(scope="module")
def items(tiny_base, tokenizer):
    return [make_item(tiny_base, tokenizer, prompt, f"ls -{number} a b") for number, prompt in enumerate(PROMPTS * 2)]


def make_item(folder, tokenizer, prompt, reference):
    text = ChatTemplate.of(folder).render([{"role": "user", "content": prompt}], add_generation_prompt=True)
    asked = tokenizer.encode(text, add_special_tokens=False).ids
    answer = [*tokenizer.encode(reference, add_special_tokens=False).ids, END]
    ids, labels = asked + answer, [-100] * len(asked) + answer
    return Item(f"{reference}|{prompt}", ids, labels, len(asked), prompt, reference)


def ignore(_count):
    pass


def greedy_by_hand(model, item, steps, ends):
    """One row, no cache, the whole sequence again for every token."""
    ids = list(item.prompt_ids)
    for _ in range(steps):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids[item.prompt_length :]


def test_the_loss_is_that_of_plain_log_probabilities_and_counts_the_end_of_turn(model, items):
    expected = []
    with computing(model, "fp32"):
        for item in items:
            logs = model(input_ids=torch.tensor([item.input_ids])).logits[0].double().log_softmax(-1)
            places = range(item.prompt_length, len(item.input_ids))
            expected.append(-sum(logs[place - 1, item.input_ids[place]].item() for place in places))
        assert supervised_nats(model, items, ignore) == pytest.approx(expected, rel=1e-6)
    assert all(item.labels[-1] == END for item in items)
    assert all(item.tokens == len(item.input_ids) - item.prompt_length for item in items)


def test_the_end_of_turn_label_counts_though_it_is_the_padding_token(model, items):
    without = [dataclasses.replace(item, labels=[*item.labels[:-1], -100]) for item in items]
    with computing(model, "fp32"):
        more, less = supervised_nats(model, items, ignore), supervised_nats(model, without, ignore)
    assert all(item.tokens - bare.tokens == 1 for item, bare in zip(items, without, strict=True))
    assert sum(more) - sum(less) > 1


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_the_loss_of_an_item_does_not_depend_on_its_batch(model, items, batch_tokens):
    with computing(model, "fp32"):
        alone = [supervised_nats(model, [item], ignore)[0] for item in items]
        assert supervised_nats(model, items, ignore, batch_tokens) == pytest.approx(alone, rel=1e-6)
    assert len({round(value, 3) for value in alone}) > 3


def test_an_unanswered_row_among_others_has_no_loss_and_changes_none(model, items):
    silent = dataclasses.replace(items[1], labels=[-100] * len(items[1].labels))
    with computing(model, "fp32"):
        [alone] = supervised_nats(model, [items[0]], ignore)
        assert supervised_nats(model, [silent, items[0]], ignore) == pytest.approx([0, alone], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batched_answers_are_those_of_one_by_one_greedy_search(model, tokenizer, items, batch_size):
    with computing(model, "fp32"):
        expected = [greedy_by_hand(model, item, 12, {END}) for item in items]
        answers = Greedy(frozenset({END}), 12, batch_size).answer(model, tokenizer, items, ignore)
    assert len({tuple(ids) for ids in expected}) > 1
    assert [answer.text for answer in answers] == [tokenizer.decode(ids) for ids in expected]
    assert [answer.new_tokens for answer in answers] == [len(ids) for ids in expected]


def test_an_answer_ends_at_its_end_token_and_says_so(model, tokenizer, items):
    with computing(model, "fp32"):
        free = greedy_by_hand(model, items[0], 12, set())
        end = free[4]
        ids = free[: free.index(end)]
        answers = Greedy(frozenset({end}), 12, 8).answer(model, tokenizer, items, ignore)
        others = [greedy_by_hand(model, item, 12, {end}) for item in items]
    assert (answers[0].text, answers[0].stopped) == (tokenizer.decode(ids), True)
    assert answers[0].new_tokens == len(ids) + 1
    assert [answer.stopped for answer in answers] == [ids[-1] == end for ids in others]


def test_settings_that_came_with_the_model_do_not_change_the_answers(model, tokenizer, items, recwarn):
    greedy = Greedy(frozenset({END}), 8, 8)
    with computing(model, "fp32"):
        plain = greedy.answer(model, tokenizer, items, ignore)
        model.generation_config.update(
            do_sample=True, temperature=5.0, top_k=3, repetition_penalty=9.0, no_repeat_ngram_size=1, max_length=3
        )
        assert greedy.answer(model, tokenizer, items, ignore) == plain
    assert not recwarn.list


def test_progress_is_told_of_every_item(model, tokenizer, items):
    done = []
    with computing(model, "fp32"):
        supervised_nats(model, items, done.append, batch_tokens=100)
        assert sum(done) == len(items)
        Greedy(frozenset({END}), 2, 3).answer(model, tokenizer, items, done.append)
    assert sum(done) == 2 * len(items)


def test_bf16_rounds_and_fp32_does_not(model, items):
    with computing(model, "fp32"):
        exact = sum(supervised_nats(model, items, ignore))
    with computing(model, "bf16"):
        rounded = sum(supervised_nats(model, items, ignore))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.01)


def test_a_model_scores_best_on_its_own_answers_and_worse_on_planted_ones(base, model, tokenizer, items):
    """The control of the whole measure: it tells a model that is right from one that is wrong."""

    def examine(references):
        planted = [make_item(base.folder, tokenizer, item.prompt, text) for item, text in references]
        rows = Examiner(base, planted, 3, 6, "fp32").score(model, "tiny model").rows
        return Statistics.of(rows).scores()

    with computing(model, "fp32"):
        own = [answer.text for answer in Greedy(frozenset({END}), 6, 8).answer(model, tokenizer, items[:4], ignore)]
    right = examine(list(zip(items[:4], own, strict=True)))
    wrong = examine(list(zip(items[:4], [own[2], *own[:2], "rm -rf /"], strict=True)))
    assert (right["exact_match"], right["first_word_accuracy"]) == (1, 1)
    assert wrong["exact_match"] < 1
    assert wrong["bleu"] < right["bleu"]
    assert wrong["loss"] > right["loss"] + 0.1
    assert right["perplexity"] == pytest.approx(math.exp(right["loss"]), rel=1e-4)
    assert (right["stopped_fraction"], right["mean_new_tokens"]) == (0, 6)


def test_the_scores_do_not_depend_on_the_batch_size(base, model, items):
    alone = Examiner(base, items, 1, 6, "fp32").score(model, "tiny model")
    together = Examiner(base, items, 8, 6, "fp32").score(model, "tiny model")
    assert alone.rows == together.rows


def test_a_row_says_all_that_was_measured_of_an_item(base, model, tokenizer, items):
    item = make_item(base.folder, tokenizer, "Look", "ls -1 é")
    [row] = Examiner(base, [dataclasses.replace(item, task="files")], 8, 6, "fp32").score(model, "tiny model").rows
    assert list(row) == [
        "id", "task", "prompt_tokens", "prediction", "stopped", "new_tokens", "reference_tokens", "nats", "tokens",
        "bytes", "scores", "statistics",
    ]  # fmt: skip
    assert (row["id"], row["task"], row["prompt_tokens"]) == (item.id, "files", item.prompt_length)
    assert row["bytes"] == len("ls -1 é".encode()) == 8
    assert row["tokens"] == row["reference_tokens"] == len(item.input_ids) - item.prompt_length
    assert set(row["statistics"]) == {"bleu", "chrf"}


def test_the_bytes_are_those_of_every_answer_of_a_conversation(base, model, tokenizer):
    talk = [
        {"role": role, "content": text}
        for role, text in [("user", "a"), ("assistant", "ls"), ("user", "b"), ("assistant", "cat x")]
    ]
    ids = tokenizer.encode(ChatTemplate.of(base.folder).render(talk), add_special_tokens=False).ids
    ends = [place for place, token in enumerate(ids) if token == END]
    labels = [-100] * len(ids)
    for text, end in (("ls", ends[-3]), ("cat x", ends[-1])):
        start = end - len(tokenizer.encode(text, add_special_tokens=False).ids)
        labels[start : end + 1] = ids[start : end + 1]
    item = Item("a", ids, labels, ends[-1] - 2, "b", "cat x")
    [row] = Examiner(base, [item], 8, 2, "fp32").score(model, "tiny model").rows
    assert row["bytes"] == len("ls") + len("cat x")


def test_answers_that_would_not_fit_into_the_context_are_refused_before_any_work(base, items):
    with pytest.raises(ParamsError, match="eval_max_new_tokens is 500") as caught:
        Examiner(base, items, 1, 500, "fp32")
    assert "512" in caught.value.problem
    assert "lower eval_max_new_tokens" in caught.value.hint


def test_a_model_that_computes_no_number_is_refused(base, items):
    broken = load_model(base.folder, "fp32")
    torch.nn.init.constant_(broken.model.norm.weight, math.nan)
    with pytest.raises(BaseModelError, match="tuned model computes a loss of nan nats") as caught:
        Examiner(base, items, 8, 6, "fp32").score(broken, "tuned model")
    assert "learning_rate" in caught.value.hint


@pytest.mark.filterwarnings(OLD_NAME)
def test_an_adapter_acts_beside_the_base_model_as_it_does_merged(base, items, tokenizer, tmp_path):
    from peft import LoraConfig, get_peft_model

    from ollamake.scoring.tuned import load_tuned

    torch.manual_seed(0)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    trained = get_peft_model(load_model(base.folder, "fp32"), lora)
    trained.save_pretrained(tmp_path)
    config = read_json(tmp_path / "adapter_config.json")
    write_json(tmp_path / "adapter_config.json", {**config, "base_model_name_or_path": "smollm2:135m"})
    tuned, merged = load_tuned(base, tmp_path, "fp32"), trained.merge_and_unload()
    greedy = Greedy(frozenset({END}), 6, 8)
    with computing(tuned, "fp32"), computing(merged, "fp32"):
        nats = supervised_nats(tuned, items, ignore)
        assert nats == pytest.approx(supervised_nats(merged, items, ignore), rel=1e-5)
        assert greedy.answer(tuned, tokenizer, items, ignore) == greedy.answer(merged, tokenizer, items, ignore)
    untouched = load_model(base.folder, "fp32")
    with computing(untouched, "fp32"):
        assert supervised_nats(untouched, items, ignore) != pytest.approx(nats, rel=1e-3)


@pytest.mark.filterwarnings(OLD_NAME)
def test_an_adapter_keeps_bf16_copies_of_the_weights_instead_of_casting_them_for_every_token(base, tmp_path):
    from peft import LoraConfig, get_peft_model

    from ollamake.scoring.tuned import load_tuned

    get_peft_model(load_model(base.folder, "fp32"), LoraConfig(task_type="CAUSAL_LM", r=4)).save_pretrained(tmp_path)
    tuned = load_tuned(base, tmp_path, "fp32")
    ids = torch.tensor([[1, 5, 7]])
    with computing(tuned, "bf16"):
        tuned(input_ids=ids)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
            tuned(input_ids=ids)
    shape = list(tuned.get_output_embeddings().weight.shape)
    assert [event for event in profile.events() if event.name == "aten::mm"]
    assert not [event for event in profile.events() if event.name == "aten::_to_copy" and shape in event.input_shapes]


def test_scoring_the_base_model_depends_on_nothing_of_the_adapter():
    assert "peft" in third_party_of("evaluate") - third_party_of("baseline")
    assert "ollamake/scoring/tuned.py" in code_of("evaluate") - code_of("baseline")


def test_the_tiny_model_is_as_this_file_takes_it(base):
    assert read_json(base.folder / "generation_config.json")["pad_token_id"] == END
    assert base.context_length == 512
