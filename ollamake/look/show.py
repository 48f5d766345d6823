"""`data show`: one row of a split, or one packed row, as the model sees it."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ollamake.base import RECORD, open_base
from ollamake.errors import OllamakeError
from ollamake.labels import IGNORE_INDEX
from ollamake.look import tokenized
from ollamake.look.conversation import header, legend, running_text, side_by_side, token_table
from ollamake.look.pieces import Piece, pieces
from ollamake.look.tokenized import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def show_row(split: str, row: int | str, console: Console, *, ids: bool) -> None:
    """Print the row with this number, from 1, or this id. Raises OllamakeError when there is none."""
    found = tokenized.row(split, row) if isinstance(row, int) else tokenized.row_of(split, row)
    _print([found], console, ids=ids)


def show_pack(number: int, console: Console, *, ids: bool) -> None:
    """Print all conversations of a packed training row, counted from 1. Raises OllamakeError when there is none."""
    rows, packs = tokenized.packed(number)
    tokens = sum(len(row.input_ids) for row in rows)
    held = "1 conversation" if len(rows) == 1 else f"{len(rows)} conversations that do not see each other"
    title = f"packed row {number} of {packs}: {held}, {tokens} tokens"
    _print(rows, console, ids=ids, title=title)


def _print(rows: Sequence[Row], console: Console, *, ids: bool, title: str = "") -> None:
    tokenizer = _tokenizer()
    colours = console.color_system is not None and not console.no_color
    if title:
        _say(console, Text(title, style="bold"), Text())
    for number, row in enumerate(rows, start=1):
        _say(console, header(row, f"{number}/{len(rows)}" if title else ""))
        found, rejected = list(pieces(row.input_ids, row.labels, tokenizer)), _rejected(row, tokenizer)
        if ids:
            console.print(token_table(found))
            if rejected:
                _say(console, Text("rejected, in the place of the answer", style="bold"))
                console.print(token_table(rejected))
            continue
        asked = [piece for piece in found if not rejected or piece.start < row.prompt_length]
        text = running_text(asked, colours=colours)
        _say(console, Text(), text, *([] if text.plain.endswith("\n") else [Text()]))
        if rejected:
            answers = (running_text(some, colours=colours) for some in (found[len(asked) :], rejected))
            _print_answers(console, *answers)
    if not ids:
        _say(console, legend(colours=colours))


def _rejected(row: Row, tokenizer: "Tokenizer") -> list[Piece]:
    """Return the pieces of the rejected answer, which stands where the chosen one does; none where there is none."""
    if row.rejected_ids is None:
        return []
    ids = row.input_ids[: row.prompt_length] + row.rejected_ids
    labels = chain(repeat(IGNORE_INDEX, row.prompt_length), row.rejected_ids)
    return [piece for piece in pieces(ids, list(labels), tokenizer) if piece.start >= row.prompt_length]


def _print_answers(console: Console, chosen: Text, rejected: Text) -> None:
    if console.is_terminal:
        console.print(side_by_side(chosen, rejected))
    else:
        _say(console, Text.assemble("chosen: ", chosen), Text.assemble("rejected: ", rejected), Text())


def _say(console: Console, *texts: Text) -> None:
    """Wrap for a person's terminal; what a program reads keeps its lines."""
    for text in texts:
        console.print(text, soft_wrap=not console.is_terminal)


def _tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        folder = open_base(RECORD).folder
    except FileNotFoundError as error:
        raise OllamakeError("no base model is pinned yet", where=str(RECORD), hint="`dvc repro fetch`") from error
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
