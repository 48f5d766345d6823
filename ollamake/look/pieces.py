"""The tokens of a row as text: whole characters, each known to be trained or not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from ollamake.labels import IGNORE_INDEX

REPLACEMENT = "\ufffd"  # what bytes decode to that are no whole character


@dataclass(frozen=True)
class Piece:
    """The fewest neighbouring tokens that are whole characters.

    `start` is the position of its first token in the row; `control` is true for a token that is no text, such as
    <|im_end|>.
    """

    start: int
    ids: tuple[int, ...]
    text: str
    trained: bool
    control: bool = False


def pieces(ids: Sequence[int], labels: Sequence[int], tokenizer: Tokenizer) -> Iterator[Piece]:
    """Yield the pieces of a row in order; their tokens are the row's, each once.

    A piece never holds both trained and masked tokens: a character cut in two by the label mask shows as two broken
    ones.
    """
    control = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    before: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()
    for position, (id_, label) in enumerate(zip(ids, labels, strict=True)):
        trained = label != IGNORE_INDEX
        if id_ in control:
            yield Piece(position, (id_,), control[id_], trained, control=True)
            before = ()
            continue
        waiting += (id_,)
        text = _text(tokenizer, before, waiting)
        last = position + 1 == len(ids) or ids[position + 1] in control
        if last or trained != (labels[position + 1] != IGNORE_INDEX) or not text.endswith(REPLACEMENT):
            yield Piece(position + 1 - len(waiting), waiting, text, trained)
            before, waiting = waiting, ()


def _text(tokenizer: Tokenizer, before: tuple[int, ...], ids: tuple[int, ...]) -> str:
    """Return what `ids` add to the text of `before`: SentencePiece tokens lose their space at the start of a text."""
    context: str = tokenizer.decode(before, skip_special_tokens=False)
    text: str = tokenizer.decode(before + ids, skip_special_tokens=False)
    if text.startswith(context):
        return text[len(context) :]
    alone: str = tokenizer.decode(ids, skip_special_tokens=False)
    return alone
