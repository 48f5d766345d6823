import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ollamake.labels import IGNORE_INDEX
from ollamake.look.pieces import pieces


@pytest.fixture(scope="module")
def tokenizer(smollm2_tokenizer):
    return Tokenizer.from_file(str(smollm2_tokenizer / "tokenizer.json"))


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_the_pieces_of_a_text_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    found = list(pieces(ids, ids, tokenizer))
    assert "".join(piece.text for piece in found) == tokenizer.decode(ids, skip_special_tokens=False)
    assert [id_ for piece in found for id_ in piece.ids] == ids


@given(data=st.data())
def test_every_token_is_in_one_piece_with_its_own_label(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=30))
    trained = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    labels = [id_ if wanted else IGNORE_INDEX for id_, wanted in zip(ids, trained, strict=True)]
    found = list(pieces(ids, labels, tokenizer))
    assert [id_ for piece in found for id_ in piece.ids] == ids
    assert [piece.trained for piece in found for _ in piece.ids] == trained
    assert [piece.start for piece in found] == [sum(len(p.ids) for p in found[:n]) for n in range(len(found))]
