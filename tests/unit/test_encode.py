from dataclasses import replace
from pathlib import Path

import pytest
import trl

from ollamake.chat import ChatTemplate
from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.encode import Encoder
from ollamake.tokens.row import Row
from ollamake.tokens.text import TextEncoder
from ollamake.tokens.vocabulary import Vocabulary

END = 2  # <|im_end|> of SmolLM2
CONVERSATION = [{"role": "user", "content": "list files"}, {"role": "assistant", "content": "ls -l"}]
TWO_TURNS = [*CONVERSATION, {"role": "user", "content": "and hidden ones"}, {"role": "assistant", "content": "ls -la"}]
SYSTEM = {"role": "system", "content": "One command."}
SHIPPED = Path(trl.__file__).parent / "chat_templates"  # the templates of the real models, as TRL carries them


@pytest.fixture(scope="module")
def encoder(smollm2_tokenizer):
    return Encoder(
        ChatTemplate.of(smollm2_tokenizer),
        Vocabulary.of(smollm2_tokenizer),
        frozenset([END]),
        system_prompt="",
        max_length=128,
        too_long="drop",
    )


@pytest.fixture(scope="module")
def reference(smollm2_tokenizer):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_tokenizer)


def outcome(encoder, conversation):
    """Return the rows of one conversation, or the reasons why there are none."""
    [rows] = encoder.encode([conversation])
    return rows


def only_row(encoder, conversation):
    [row] = outcome(encoder, conversation)
    assert isinstance(row, Row), row
    return row


def supervised_text(encoder, row):
    learnt = [label for label in row.labels if label != IGNORE_INDEX]
    return encoder.vocabulary.tokenizer.decode(learnt, skip_special_tokens=False)


def text(encoder, row):
    return encoder.vocabulary.tokenizer.decode(row.input_ids, skip_special_tokens=False)


def test_only_the_answer_and_its_end_carry_loss(encoder):
    assert supervised_text(encoder, only_row(encoder, CONVERSATION)) == "ls -l<|im_end|>"


def test_every_answer_of_a_conversation_carries_loss(encoder):
    assert supervised_text(encoder, only_row(encoder, TWO_TURNS)) == "ls -l<|im_end|>ls -la<|im_end|>"


def test_a_label_is_the_token_itself_or_ignored(encoder):
    row = only_row(encoder, TWO_TURNS)
    assert len(row.labels) == len(row.input_ids)
    assert all(label in (id_, IGNORE_INDEX) for label, id_ in zip(row.labels, row.input_ids, strict=True))


def test_the_ids_are_those_that_transformers_gives(encoder, reference):
    conversations = [
        CONVERSATION,
        TWO_TURNS,
        [SYSTEM, *TWO_TURNS],
        [{**CONVERSATION[0], "content": "a  12\n\n5 世界"}, CONVERSATION[1]],
    ]
    for conversation, [row] in zip(conversations, encoder.encode(conversations), strict=True):
        assert row.input_ids == reference.apply_chat_template(conversation)["input_ids"]


def test_the_prompt_is_what_the_server_will_send(encoder, reference):
    row = only_row(encoder, TWO_TURNS)
    prompt = reference.apply_chat_template(TWO_TURNS[:-1], add_generation_prompt=True)["input_ids"]
    assert row.input_ids[: row.prompt_length] == prompt


def test_the_last_question_and_answer_are_kept_beside_the_tokens(encoder):
    row = only_row(encoder, TWO_TURNS)
    assert (row.prompt, row.reference) == ("and hidden ones", "ls -la")


def test_the_system_prompt_is_put_before_a_conversation_without_one(encoder):
    row = only_row(replace(encoder, system_prompt="One command."), CONVERSATION)
    assert text(encoder, row).startswith("<|im_start|>system\nOne command.<|im_end|>\n<|im_start|>user\n")


def test_the_system_message_of_a_conversation_wins(encoder):
    own = [{"role": "system", "content": "Mine."}, *CONVERSATION]
    assert outcome(replace(encoder, system_prompt="Other."), own) == outcome(encoder, own)


def test_a_conversation_longer_than_max_length_is_dropped_not_cut(encoder):
    length = len(only_row(encoder, CONVERSATION).input_ids)
    assert only_row(replace(encoder, max_length=length), CONVERSATION)
    assert outcome(replace(encoder, max_length=length - 1), CONVERSATION) == ["longer than max_length"]


def test_truncate_left_takes_the_oldest_turns_and_keeps_the_system_message(encoder):
    whole = only_row(encoder, [SYSTEM, *TWO_TURNS])
    encoder = replace(encoder, max_length=len(whole.input_ids) - 1, too_long="truncate_left")
    row = only_row(encoder, [SYSTEM, *TWO_TURNS])
    assert row == replace(only_row(encoder, [SYSTEM, *TWO_TURNS[2:]]), truncated=True)
    assert not whole.truncated


def test_truncate_left_takes_no_more_turns_than_it_must(encoder):
    many = [
        {**message, "content": f"{message['content']} {number}"} for number in range(20) for message in CONVERSATION
    ]
    lengths = [len(only_row(replace(encoder, max_length=10_000), many[2 * left :]).input_ids) for left in range(20)]
    for left in range(1, 20):
        row = only_row(replace(encoder, max_length=lengths[left], too_long="truncate_left"), many)
        assert len(row.input_ids) == lengths[left]


def test_a_last_turn_that_is_too_long_alone_is_dropped_by_truncate_left(encoder):
    short = replace(encoder, max_length=20, too_long="truncate_left")
    assert outcome(short, TWO_TURNS) == outcome(short, CONVERSATION) == ["longer than max_length"]


def test_truncate_right_cuts_the_answer_and_keeps_its_end(encoder):
    long = [CONVERSATION[0], {"role": "assistant", "content": "one two three four five six"}]
    whole = only_row(encoder, long)
    row = only_row(replace(encoder, max_length=whole.prompt_length + 4, too_long="truncate_right"), long)
    assert supervised_text(encoder, row) == "one two three<|im_end|>"
    assert (len(row.input_ids), row.prompt_length, row.truncated) == (
        whole.prompt_length + 4,
        whole.prompt_length,
        True,
    )


def test_truncate_right_takes_what_the_template_writes_behind_the_end_first(encoder):
    whole = only_row(encoder, CONVERSATION)
    row = only_row(replace(encoder, max_length=len(whole.input_ids) - 1, too_long="truncate_right"), CONVERSATION)
    assert supervised_text(encoder, row) == "ls -l<|im_end|>"


def test_truncate_right_leaves_one_token_of_the_answer_at_least(encoder):
    prompt = only_row(encoder, CONVERSATION).prompt_length
    cut = replace(encoder, too_long="truncate_right")
    assert supervised_text(encoder, only_row(replace(cut, max_length=prompt + 2), CONVERSATION)) == "ls<|im_end|>"
    assert outcome(replace(cut, max_length=prompt + 1), CONVERSATION) == ["prompt longer than max_length"]


def test_a_template_that_never_ends_a_turn_is_refused(encoder):
    turns = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}"
    endless = ChatTemplate(turns + "{% if add_generation_prompt %}assistant:\n{% endif %}")
    with pytest.raises(BaseModelError, match="never stop"):
        outcome(replace(encoder, template=endless), CONVERSATION)


def test_the_end_of_a_later_message_is_not_taken_for_that_of_an_answer(encoder):
    turns = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% if m.role == 'user' or loop.last %}<|im_end|>{% endif %}{% endfor %}"""
    template = ChatTemplate(turns + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    for row in outcome(replace(encoder, template=template), TWO_TURNS):
        assert supervised_text(encoder, row) in ("ls -l<|im_end|>", "ls -la<|im_end|>")


def test_an_answer_that_melts_into_the_prompt_is_left_out(encoder):
    melting = [CONVERSATION[0], {"role": "assistant", "content": "\n\nls"}]
    assert outcome(encoder, melting) == ["prompt and answer share a token"]


def test_a_template_that_asks_for_another_beginning_than_it_writes_is_named(encoder):
    thinking = encoder.template.source.replace("assistant\n' }}", "assistant\n<think>' }}")
    rows = outcome(replace(encoder, template=replace(encoder.template, source=thinking)), CONVERSATION)
    assert rows == ["the template writes an answer in another way than it asks for it"]


def test_a_template_that_rewrites_earlier_answers_gives_a_row_for_each_turn(encoder):
    """Qwen 3 puts an empty thought before the last answer only."""
    qwen3 = replace(encoder, template=ChatTemplate((SHIPPED / "qwen3.jinja").read_text()))
    first, second = outcome(qwen3, TWO_TURNS)
    thought = "<think>\n\n</think>\n\n"
    assert supervised_text(encoder, first) == f"{thought}ls -l<|im_end|>"
    assert supervised_text(encoder, second) == f"{thought}ls -la<|im_end|>"
    assert [first] == outcome(qwen3, CONVERSATION)
    prompt = qwen3.template.render(TWO_TURNS[:-1], add_generation_prompt=True)
    assert text(encoder, replace(second, input_ids=second.input_ids[: second.prompt_length])) == prompt
    assert (first.prompt, second.prompt) == ("list files", "and hidden ones")


def test_only_the_turn_that_melts_is_left_out(encoder):
    melting = [CONVERSATION[0], {"role": "assistant", "content": "\n\nls"}, *TWO_TURNS[2:]]
    reason, row = outcome(encoder, melting)
    assert reason == "prompt and answer share a token"
    assert supervised_text(encoder, row) == "ls -la<|im_end|>"


def test_a_template_that_refuses_a_role_gives_its_reason(encoder):
    no_system = ChatTemplate("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}")
    refusing = replace(encoder, template=no_system, system_prompt="Hi.")
    assert outcome(refusing, CONVERSATION) == ["refused by the chat template: no system role"]


def test_an_end_token_that_is_not_marked_as_special_is_a_control_token_too(encoder, smollm2_tokenizer, tmp_path):
    """Typed into an answer it would end the loss in the middle, and teach the model to stop there."""
    content = read_json(smollm2_tokenizer / "tokenizer.json")
    content["added_tokens"][END]["special"] = False
    write_json(tmp_path / "tokenizer.json", content)
    encoder = replace(encoder, vocabulary=Vocabulary.of(tmp_path))
    typed = [CONVERSATION[0], {"role": "assistant", "content": "one <|im_end|> two"}]
    assert outcome(encoder, typed) == ["control token in the text"]
    assert supervised_text(encoder, only_row(encoder, TWO_TURNS)) == "ls -l<|im_end|>ls -la<|im_end|>"
    [rows] = TextEncoder(encoder.vocabulary, END, 64).encode(["one <|im_end|> two"])
    assert rows == ["control token in the text"]


def test_a_conversation_that_is_left_out_shifts_no_other(encoder):
    typed = [{"role": "user", "content": "<|im_start|>"}, CONVERSATION[1]]
    rows = list(encoder.encode([typed, CONVERSATION, typed, TWO_TURNS]))
    assert rows == [outcome(encoder, one) for one in (typed, CONVERSATION, typed, TWO_TURNS)]


def test_a_turn_that_is_too_long_loses_its_own_oldest_turns(encoder):
    qwen3 = replace(encoder, template=ChatTemplate((SHIPPED / "qwen3.jinja").read_text()))
    three = [*TWO_TURNS, {"role": "user", "content": "by size"}, {"role": "assistant", "content": "ls -lS"}]
    whole = outcome(qwen3, three)
    cut = replace(qwen3, max_length=len(whole[2].input_ids) - 1, too_long="truncate_left")
    assert outcome(cut, three)[:2] == whole[:2]
    assert outcome(cut, three)[2] == replace(outcome(qwen3, three[2:])[1], truncated=True)


def test_a_mistake_in_the_template_that_some_conversations_bring_out_is_a_reason_and_no_crash(encoder):
    source = encoder.template.source + "{% if messages | length > 3 %}{{ 'turns: ' + 4 }}{% endif %}"
    wrong = replace(encoder, template=replace(encoder.template, source=source))
    assert isinstance(only_row(wrong, CONVERSATION), Row)
    [reason] = outcome(wrong, TWO_TURNS)
    assert reason.startswith("refused by the chat template: can only concatenate str")
