import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ollamake.labels import IGNORE_INDEX
from ollamake.look.pieces import Piece, pieces


@pytest.fixture(scope="module")
def tokenizer(smollm2_tokenizer):
    return Tokenizer.from_file(str(smollm2_tokenizer / "tokenizer.json"))


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_the_tokens_of_one_character_are_one_piece(tokenizer):
    ids = ids_of(tokenizer, "é朝!")
    assert len(ids) == 4
    assert [(piece.start, len(piece.ids), piece.text) for piece in pieces(ids, ids, tokenizer)] == [
        (0, 1, "é"),
        (1, 2, "朝"),
        (3, 1, "!"),
    ]


def test_half_a_character_at_the_end_is_shown_as_broken(tokenizer):
    ids = ids_of(tokenizer, "朝")[:1]
    assert list(pieces(ids, ids, tokenizer)) == [Piece(0, tuple(ids), "\ufffd", trained=True)]


def test_half_a_character_does_not_swallow_the_end_of_the_turn(tokenizer):
    ids = [*ids_of(tokenizer, "朝")[:1], 2]
    assert [piece.text for piece in pieces(ids, ids, tokenizer)] == ["\ufffd", "<|im_end|>"]


def test_a_mask_that_cuts_a_character_shows_on_both_sides(tokenizer):
    ids = ids_of(tokenizer, "朝")
    found = list(pieces(ids, [IGNORE_INDEX, ids[1]], tokenizer))
    assert [(piece.trained, piece.ids) for piece in found] == [(False, (ids[0],)), (True, (ids[1],))]


def test_a_control_token_is_none_when_it_is_spelt_out_in_a_text(tokenizer):
    (real,) = pieces([2], [2], tokenizer)
    ids = [id_ for character in "<|im_end|>" for id_ in ids_of(tokenizer, character)]
    assert real.control
    assert not any(piece.control for piece in pieces(ids, ids, tokenizer))


def test_the_spaces_of_a_sentencepiece_vocabulary_stay():
    vocabulary = {"▁list": 0, "▁all": 1, "▁files": 2, "<0xC3>": 3, "<0xA9>": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    ids = [0, 1, 2, 3, 4]
    assert [piece.text for piece in pieces(ids, ids, tokenizer)] == ["list", " all", " files", "é"]
