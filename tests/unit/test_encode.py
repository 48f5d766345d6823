import pytest
from tokenizers import Tokenizer

from ollamake.chat import ChatTemplate
from ollamake.errors import BaseModelError
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens import tables
from ollamake.tokens.encode import Encoder, UnencodableError

END = 2  # <|im_end|> of SmolLM2
CONVERSATION = [{"role": "user", "content": "list files"}, {"role": "assistant", "content": "ls -l"}]
TWO_TURNS = [*CONVERSATION, {"role": "user", "content": "and hidden ones"}, {"role": "assistant", "content": "ls -la"}]


@pytest.fixture(scope="module")
def tokenizer(smollm2_tokenizer):
    return Tokenizer.from_file(str(smollm2_tokenizer / "tokenizer.json"))


@pytest.fixture
def encoder(smollm2_tokenizer, tokenizer):
    return Encoder(ChatTemplate.of(smollm2_tokenizer), tokenizer, frozenset([END]), system_prompt="", max_length=128)


def replaced(encoder, **changes):
    return Encoder(**{**vars(encoder), **changes})


def supervised_text(encoder, encoded):
    return encoder.tokenizer.decode([id_ for id_ in encoded.labels if id_ != IGNORE_INDEX], skip_special_tokens=False)


def test_only_the_answer_and_its_end_carry_loss(encoder):
    assert supervised_text(encoder, encoder.encode(CONVERSATION)) == "ls -l<|im_end|>"


def test_every_answer_of_a_conversation_carries_loss(encoder):
    assert supervised_text(encoder, encoder.encode(TWO_TURNS)) == "ls -l<|im_end|>ls -la<|im_end|>"


def test_a_label_is_the_token_itself_or_ignored(encoder):
    encoded = encoder.encode(TWO_TURNS)
    assert len(encoded.labels) == len(encoded.input_ids)
    assert all(label in (id_, IGNORE_INDEX) for label, id_ in zip(encoded.labels, encoded.input_ids, strict=True))


def test_the_ids_are_those_that_transformers_gives(encoder, smollm2_tokenizer):
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(smollm2_tokenizer)
    assert encoder.encode(TWO_TURNS).input_ids == reference.apply_chat_template(TWO_TURNS)["input_ids"]


def test_the_prompt_is_what_the_server_will_send(encoder, smollm2_tokenizer):
    from transformers import AutoTokenizer

    encoded = encoder.encode(TWO_TURNS)
    reference = AutoTokenizer.from_pretrained(smollm2_tokenizer)
    prompt = reference.apply_chat_template(TWO_TURNS[:-1], add_generation_prompt=True)["input_ids"]
    assert encoded.input_ids[: encoded.prompt_length] == prompt


def test_the_system_prompt_is_put_before_a_conversation_without_one(encoder):
    text = encoder.tokenizer.decode(
        replaced(encoder, system_prompt="One command.").encode(CONVERSATION).input_ids, skip_special_tokens=False
    )
    assert text.startswith("<|im_start|>system\nOne command.<|im_end|>\n<|im_start|>user\n")


def test_the_system_message_of_a_conversation_wins(encoder):
    own = [{"role": "system", "content": "Mine."}, *CONVERSATION]
    assert replaced(encoder, system_prompt="Other.").encode(own) == encoder.encode(own)


def test_a_conversation_longer_than_max_length_is_left_out_not_cut(encoder):
    length = len(encoder.encode(CONVERSATION).input_ids)
    assert replaced(encoder, max_length=length).encode(CONVERSATION)
    with pytest.raises(UnencodableError, match="longer than max_length"):
        replaced(encoder, max_length=length - 1).encode(CONVERSATION)


def test_a_control_token_typed_by_a_user_is_left_out(encoder):
    with pytest.raises(UnencodableError, match="control token"):
        encoder.encode([{"role": "user", "content": "say <|im_end|> please"}, CONVERSATION[1]])


def test_a_template_that_never_ends_a_turn_is_refused(encoder):
    turns = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}"
    endless = ChatTemplate(turns + "{% if add_generation_prompt %}assistant:\n{% endif %}")
    with pytest.raises(BaseModelError, match="never stop"):
        replaced(encoder, template=endless).encode(CONVERSATION)


def test_an_answer_that_melts_into_the_prompt_is_left_out(encoder):
    with pytest.raises(UnencodableError, match="share a token"):
        encoder.encode([CONVERSATION[0], {"role": "assistant", "content": "\n\nls"}])


def test_a_template_that_refuses_a_role_gives_its_reason(encoder):
    no_system = ChatTemplate("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}")
    with pytest.raises(UnencodableError, match="refused by the chat template: no system role"):
        replaced(encoder, template=no_system, system_prompt="Hi.").encode(CONVERSATION)


def test_what_is_left_out_is_counted_by_its_reason(encoder):
    records = [
        {"id": "a", "messages": CONVERSATION},
        {"id": "b", "messages": [CONVERSATION[0], {"role": "assistant", "content": "x " * 200}]},
        {"id": "c", "messages": [{"role": "user", "content": "<|im_start|>"}, CONVERSATION[1]]},
    ]
    split = tables.tokenize(records, encoder)
    assert [row["id"] for row in split.rows] == ["a"]
    assert split.dropped == {"longer than max_length": 1, "control token in the text": 1}
    assert tables.counts(split)["supervised_tokens"] == len(encoder.tokenizer.encode("ls -l<|im_end|>").ids)


def test_the_table_comes_back_as_it_was_written(encoder, tmp_path):
    import pyarrow.parquet as pq

    split = tables.tokenize([{"id": "a", "messages": TWO_TURNS}], encoder)
    tables.write(tmp_path / "train.parquet", split)
    [row] = pq.read_table(tmp_path / "train.parquet").to_pylist()
    assert row == split.rows[0]
    assert (row["prompt"], row["reference"]) == ("and hidden ones", "ls -la")


def test_the_same_rows_give_the_same_bytes(encoder, tmp_path):
    for name in ("a", "b"):
        tables.write(tmp_path / name, tables.tokenize([{"id": "a", "messages": TWO_TURNS}], encoder))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_split_that_loses_too_many_conversations_is_refused_with_the_reasons(encoder):
    from ollamake.errors import DataError
    from stages.tokenize import refuse_loss

    long = [CONVERSATION[0], {"role": "assistant", "content": "x " * 200}]
    split = tables.tokenize([{"id": "a", "messages": CONVERSATION}, {"id": "b", "messages": long}], encoder)
    refuse_loss("train", split, 0.5)
    with pytest.raises(DataError, match=r"train: 1 of 2 conversations, 1 × longer than max_length \(such as b\)"):
        refuse_loss("train", split, 0.4)
    with pytest.raises(DataError, match="it is empty"):
        refuse_loss("val", tables.Split(), 1.0)
