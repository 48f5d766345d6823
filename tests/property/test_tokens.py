"""Whatever the template, the policy and the texts: what is learnt is what the model has to say, and its end."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamake.chat import ChatTemplate, with_system
from ollamake.files import read_json
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.encode import Encoder
from ollamake.tokens.judged import JudgedEncoder
from ollamake.tokens.row import Row
from ollamake.tokens.text import TextEncoder
from ollamake.tokens.vocabulary import Vocabulary
from ollamake.tokens.whole import WholeEncoder
from tests.golden.families import FAMILIES, write_family

POLICIES = ("drop", "truncate_left", "truncate_right")
FAMILY = pytest.mark.parametrize("family", FAMILIES)
# Pieces of control tokens beside ordinary and awkward text, so that contents spell tokens, halves and near misses.
PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "</s>",
    "<s>",
    "[INST]",
    "[/INST]",
    "<end_of_turn>",
    "<|end|>",
    "<|user|>",
    "<unk>",
]
PIECES += ["<|", "|>", "<", "s>", "im_end", "/", "＜/s＞", "▁", " ", "  ", "\n", "\n\n", "\t", "assistant", "user\n"]
PIECES += ["ls -l", "a", "12", "é", "e\u0301", "世", "👩‍👩‍👧", "\u202e", "\u200b", "\u0378", "\ufeff", "\u2028"]
WICKED = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
PLAIN = st.text("ab1 \né世.", min_size=1, max_size=12)
TURNS = st.lists(st.tuples(PLAIN | WICKED, PLAIN | WICKED), min_size=1, max_size=4)


@cache
def folder_of(family: str) -> Path:
    return write_family(family, Path(mkdtemp()) / family)


@cache
def vocabulary_of(family: str) -> Vocabulary:
    return Vocabulary.of(folder_of(family))


def encoder_of(family: str, kind=Encoder, **settings) -> Encoder:
    folder = folder_of(family)
    ends = frozenset(read_json(folder / "generation_config.json")["eos_token_id"])
    defaults = {"system_prompt": "", "max_length": 10_000, "too_long": "drop"}
    return kind(ChatTemplate.of(folder), vocabulary_of(family), ends, **{**defaults, **settings})


def conversation_of(turns):
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def rows_of(encoder, conversation):
    [rows] = encoder.encode([conversation])
    return [row for row in rows if isinstance(row, Row)]


@FAMILY
@given(text=WICKED)
def test_a_text_has_the_ids_that_the_tokenizer_gives_it_whole(family, text):
    vocabulary = vocabulary_of(family)
    [tokens] = vocabulary.encode([text])
    assert tokens.ids == vocabulary.ids(text)


@FAMILY
@given(text=WICKED, more=WICKED, other=WICKED)
def test_the_length_of_a_prefix_is_that_of_its_own_ids(family, text, more, other):
    vocabulary = vocabulary_of(family)
    [tokens] = vocabulary.encode([text + more])
    for prefix in (text, other):
        ids = vocabulary.ids(prefix)
        expected = len(ids) if tokens.ids[: len(ids)] == ids else None
        assert vocabulary.prefix_length(tokens, prefix) == expected


@FAMILY
@given(
    turns=TURNS, policy=st.sampled_from(POLICIES), max_length=st.integers(2, 80), system=st.sampled_from(["", "Be."])
)
def test_every_row_fits_and_learns_its_end_of_turn_token(family, turns, policy, max_length, system):
    encoder = encoder_of(family, too_long=policy, max_length=max_length, system_prompt=system)
    for row in rows_of(encoder, conversation_of(turns)):
        assert len(row.input_ids) == len(row.labels) <= max_length
        assert 0 < row.prompt_length < len(row.input_ids)
        last = max(place for place, label in enumerate(row.labels) if label != IGNORE_INDEX)
        assert row.labels[last] in encoder.end_ids
        assert row.labels[last] == row.input_ids[last]


@FAMILY
@given(turns=TURNS)
def test_what_is_learnt_is_the_answers_each_with_one_end(family, turns):
    encoder = encoder_of(family)
    conversation = conversation_of(turns)
    [rows] = encoder.encode([conversation])
    learnt = []
    for row in (row for row in rows if isinstance(row, Row)):
        ends = [label for label in row.labels if label in encoder.end_ids]
        tokens = [label for label in row.labels if label != IGNORE_INDEX and label not in encoder.end_ids]
        assert len(ends) == (len(turns) if len(rows) == 1 else 1)
        learnt.append(encoder.vocabulary.tokenizer.decode(tokens, skip_special_tokens=False))
    if len(learnt) == len(rows):
        answers = "".join(answer for _, answer in turns)
        assert squeezed("".join(learnt), encoder) == squeezed(answers, encoder)


def squeezed(text, encoder):
    """Without white space, which templates strip and tokenizers add, and in the tokenizer's own normal form."""
    normal = encoder.vocabulary.tokenizer.normalizer
    return "".join((normal.normalize_str(text) if normal else text).replace("▁", " ").split())


@FAMILY
@given(turns=TURNS)
def test_the_prompt_is_what_the_server_will_send(family, turns):
    encoder = encoder_of(family)
    conversation = conversation_of(turns)
    [rows] = encoder.encode([conversation])
    sent = [conversation[: 2 * turn + 1] for turn in range(len(turns))][-len(rows) :]
    for asked, row in zip(sent, rows, strict=True):
        if isinstance(row, Row):
            prompt = encoder.template.render(asked, add_generation_prompt=True)
            assert row.input_ids[: row.prompt_length] == encoder.vocabulary.ids(prompt)


@FAMILY
@given(turns=TURNS, policy=st.sampled_from(POLICIES), max_length=st.integers(2, 80))
def test_no_content_adds_a_control_token(family, turns, policy, max_length):
    encoder = encoder_of(family, too_long=policy, max_length=max_length)
    vocabulary = encoder.vocabulary
    for row in rows_of(encoder, conversation_of(turns)):
        harmless = [encoder.template.render(conversation_of([("x", "y")] * kept)) for kept in range(1, len(turns) + 1)]
        written = [vocabulary.control_ids_in(vocabulary.ids(text)) for text in harmless]
        found = vocabulary.control_ids_in(row.input_ids)
        # A cut answer ends with its end of turn; what the template writes behind that is gone.
        assert any(found == (ids[: len(found)] if row.truncated else ids) for ids in written)


@FAMILY
@given(turns=TURNS)
def test_the_ids_are_those_of_the_rendered_conversation(family, turns):
    encoder = encoder_of(family)
    conversation = conversation_of(turns)
    [rows] = encoder.encode([conversation])
    if len(rows) == 1 and isinstance(rows[0], Row):
        assert rows[0].input_ids == encoder.vocabulary.ids(encoder.template.render(conversation))


@FAMILY
@given(text=PLAIN | WICKED, max_length=st.integers(2, 12))
def test_every_token_of_a_text_is_learnt_once(family, text, max_length):
    encoder = TextEncoder.of(folder_of(family), vocabulary_of(family), max_length)
    [rows] = encoder.encode([text])
    ids = encoder.vocabulary.ids(text)
    if isinstance(rows[0], str):
        assert rows == ["control token in the text"]
        assert encoder.vocabulary.control_ids_in(ids)
        return
    assert all(len(row.input_ids) == len(row.labels) <= max_length for row in rows)
    assert [label for row in rows for label in row.labels[1:]] == [*ids, encoder.end_id][1:]
    assert rows[0].input_ids[0] == ids[0]


@FAMILY
@given(
    turns=TURNS,
    rejected=PLAIN | WICKED,
    policy=st.sampled_from(POLICIES),
    max_length=st.integers(2, 80),
    system=st.sampled_from(["", "Be."]),
)
def test_both_judged_answers_fit_and_end_with_an_end_of_turn_token(family, turns, rejected, policy, max_length, system):
    encoder = encoder_of(family, JudgedEncoder, too_long=policy, max_length=max_length, system_prompt=system)
    conversation = conversation_of(turns)
    [[row], [thumb]] = encoder.encode_judged(
        [{"messages": conversation, "rejected": rejected}, {"messages": conversation, "desirable": False}]
    )
    if isinstance(thumb, str):
        assert isinstance(row, str)  # what one answer may not be, the better of two may not be either
    if isinstance(row, str):
        return
    assert len(row.input_ids) == len(row.labels) <= max_length
    assert row.prompt_length + len(row.rejected_ids) <= max_length
    assert row.labels == [IGNORE_INDEX] * row.prompt_length + row.input_ids[row.prompt_length :]
    answers = (row.input_ids[row.prompt_length :], row.rejected_ids)
    assert answers[0] != answers[1]
    for answer in answers:
        assert [token in encoder.end_ids for token in answer] == [False] * (len(answer) - 1) + [True]
    kept = [conversation[start:-1] for start in range(0, len(conversation), 2)]
    sent = [encoder.template.render(with_system(asked, system), add_generation_prompt=True) for asked in kept]
    assert row.input_ids[: row.prompt_length] in [encoder.vocabulary.ids(text) for text in sent]
    assert thumb.desirable is False
    if not row.truncated:
        assert replace(thumb, desirable=None) == replace(row, rejected_ids=None)


@FAMILY
@given(turns=TURNS, max_length=st.integers(2, 40))
def test_every_token_of_a_conversation_is_learnt_once_in_pretraining(family, turns, max_length):
    encoder = encoder_of(family, WholeEncoder, max_length=max_length)
    conversation = conversation_of(turns)
    [rows] = encoder.encode([conversation])
    if isinstance(rows[0], Row):
        ids = encoder.vocabulary.ids(encoder.template.render(conversation))
        assert [label for row in rows for label in row.labels[1:]] == ids[1:]
        assert all(len(row.input_ids) == len(row.labels) <= max_length for row in rows)
        assert all(0 < row.prompt_length < len(row.input_ids) for row in rows)
