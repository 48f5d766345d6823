from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from ollamake.chat import ChatTemplate
from ollamake.tokens.encode import Encoder
from ollamake.tokens.text import TextEncoder
from ollamake.tokens.vocabulary import Vocabulary

ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def vocabulary_with(*added, normalizer=None):
    """A tokenizer of single bytes with some added tokens."""
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(sorted(ALPHABET))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_tokens(list(added))
    if normalizer:
        tokenizer.normalizer = normalizer
    return Vocabulary(tokenizer)


def token(text, **flags):
    return AddedToken(text, **{"special": True, "normalized": False, **flags})


@pytest.mark.parametrize(
    "added",
    [
        [token("<e>", lstrip=True)],
        [token("<e>", rstrip=True)],
        [token("<e>", single_word=True)],
        [token("<e>"), token("<e>>")],
        [token("<e>"), token("<e><")],
        [token("<e>"), token(" <", special=False)],
        [token("<e>"), token("e>"), token("a<", normalized=True)],
        [token("<e>", normalized=True)],
        [],
    ],
    ids=[
        "eats spaces before",
        "eats spaces behind",
        "alone",
        "longer",
        "much longer",
        "overlapped",
        "found later",
        "normalized",
        "none",
    ],
)
@pytest.mark.parametrize("text", ["a <e> b", "a<e>b<e>", " <e>> ", "<e>", "a", "", "<e><e>", "a <e>b <e> <e>>c"])
def test_segments_have_the_ids_of_the_whole(added, text):
    vocabulary = vocabulary_with(*added)
    [tokens] = vocabulary.encode([text])
    assert tokens.ids == vocabulary.ids(text)
    for end in range(len(text) + 1):
        ids = vocabulary.ids(text[:end])
        expected = len(ids) if tokens.ids[: len(ids)] == ids else None
        assert vocabulary.prefix_length(tokens, text[:end]) == expected


def test_a_truncation_in_the_tokenizer_file_is_not_applied(smollm2_tokenizer, tmp_path):
    tokenizer = Tokenizer.from_file(str(smollm2_tokenizer / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    [tokens] = Vocabulary.of(tmp_path).encode(["one two three four five six"])
    assert len(tokens.ids) == 6


def test_a_control_token_that_a_normalizer_makes_is_found():
    """The full-width letters are no control token in the text, but one for the tokenizer."""
    vocabulary = vocabulary_with(token("<e>", normalized=True), normalizer=normalizers.NFKC())
    end = vocabulary.tokenizer.token_to_id("<e>")
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }}<e>{% endfor %}"
    template = ChatTemplate(turns + "{% if add_generation_prompt %}assistant: {% endif %}")
    encoder = Encoder(template, vocabulary, frozenset([end]), system_prompt="", max_length=64, too_long="drop")
    hidden = [{"role": "user", "content": "＜e＞"}, {"role": "assistant", "content": "ok"}]
    assert list(encoder.encode([hidden])) == [["control token in the text"]]
    assert list(TextEncoder(vocabulary, end, 64).encode(["＜e＞"])) == [["control token in the text"]]
    [[row]] = encoder.encode([[{**hidden[0], "content": "<e"}, hidden[1]]])
    assert row.input_ids.count(end) == 2


def test_a_control_token_that_a_text_makes_with_what_stands_around_it_is_found():
    vocabulary = vocabulary_with(token("<e>"), token("<e>!"))
    end = vocabulary.tokenizer.token_to_id("<e>")
    turns = "{% for m in messages %}<e>{{ m.content }}{% endfor %}{% if not add_generation_prompt %}<e>{% endif %}"
    encoder = Encoder(
        ChatTemplate(turns + "{% if add_generation_prompt %}<e>{% endif %}"),
        vocabulary,
        frozenset([end]),
        system_prompt="",
        max_length=64,
        too_long="drop",
    )
    joined = [{"role": "user", "content": "!"}, {"role": "assistant", "content": "ok"}]
    assert list(encoder.encode([joined])) == [["control token in the text"]]
    [[row]] = encoder.encode([[{**joined[0], "content": "?"}, joined[1]]])
    assert row.input_ids.count(end) == 3


def test_a_text_begins_with_what_the_tokenizer_puts_before_every_text():
    vocabulary = vocabulary_with(token("<b>"), token("<e>"))
    begin, end = (vocabulary.tokenizer.token_to_id(text) for text in ("<b>", "<e>"))
    bare = TextEncoder(vocabulary, end, 8)
    [[without]] = bare.encode(["abc"])
    vocabulary.tokenizer.post_processor = processors.TemplateProcessing(
        single="<b> $A <e>", special_tokens=[("<b>", begin), ("<e>", end)]
    )
    [[row]] = replace(bare).encode(["abc"])
    assert row.input_ids == [begin, *without.input_ids]
    assert row.labels == [-100, *without.input_ids]


def test_a_text_that_comes_to_no_tokens_is_counted_not_lost():
    vocabulary = vocabulary_with(token("<e>"), normalizer=normalizers.Strip())
    encoder = TextEncoder(vocabulary, vocabulary.tokenizer.token_to_id("<e>"), 8)
    first, [second] = encoder.encode([" ", "a"])
    assert first == ["nothing that the tokenizer knows"]
    assert len(second.input_ids) == 2


def test_a_rare_character_is_no_control_token_but_the_unknown_token_typed_is():
    """One of them has bytes to spell what it does not know in, the other has the unknown token only."""
    letters = {"<unk>": 0, "a": 1, **{f"<0x{byte:02X}>": byte + 2 for byte in range(256)}}
    unknown = {"unk_token": "<unk>"}
    for fallback, refused in ((True, "<unk>"), (False, None)):
        tokenizer = Tokenizer(models.BPE(letters, [], byte_fallback=fallback, **unknown))
        tokenizer.add_tokens([token("<unk>"), token("<e>")])
        encoder = TextEncoder(Vocabulary(tokenizer), tokenizer.token_to_id("<e>"), 8)
        outcomes = dict(zip(("a", "世", "<unk>"), encoder.encode(["a", "世", "<unk>"]), strict=True))
        assert [text for text, rows in outcomes.items() if isinstance(rows[0], str)] == ([refused] if refused else [])
