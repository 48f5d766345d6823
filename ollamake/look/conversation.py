"""Tokenized conversations on the screen: what the model is trained on, and what it only reads."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ollamake.look.pieces import Piece
from ollamake.look.tokenized import Row
from ollamake.look.visible import on_one_line, visible

TRAINED, MASKED = "bold green", "dim"
CONTROL_TRAINED, CONTROL_MASKED = "bold magenta", "dim magenta"
OPENING, CLOSING, SPACE = "⟦", "⟧", "·"


def header(row: Row, place: str = "") -> Text:
    """Return which row it is, and its numbers; `place` says where in a packed row it stands."""
    tokens, trained = len(row.input_ids), row.trained_tokens
    names = [place, f"{row.split} row {row.number} of {row.of}", f"id {row.id}", f"task {row.task}" if row.task else ""]
    names.append({True: "thumb up", False: "thumb down", None: ""}[row.desirable])
    text = Text(" · ".join(on_one_line(name) for name in names if name), style="bold")
    numbers = f"{tokens} tokens, {trained} trained ({trained / max(tokens, 1):.1%})"
    if row.rejected_ids is not None:
        numbers += f"; {len(row.rejected_ids)} in the rejected answer"
    return text.append(f"\n{numbers}", style="not bold")


def legend(*, colours: bool) -> Text:
    """Return how to read the text below."""
    if not colours:
        return Text(f"{OPENING}trained{CLOSING}, all else is only read; ⏎ is a line end")
    known = [("trained", TRAINED), ("only read", MASKED), ("<control token>", CONTROL_TRAINED)]
    return Text(", ").join(Text(*part) for part in known).append("; ⏎ is a line end", MASKED)


def running_text(found: Iterable[Piece], *, colours: bool) -> Text:
    """Return the pieces one after another; without colours, what is trained stands between ⟦ and ⟧."""
    text = Text(overflow="fold")
    for trained, run in groupby(found, key=lambda piece: piece.trained):
        text.append(OPENING if trained and not colours else "")
        for piece in run:
            text.append(visible(piece.text), style=_style(piece))
        text.append(CLOSING if trained and not colours else "")
    return text


def side_by_side(chosen: Text, rejected: Text) -> Table:
    """Return two answers to one prompt in columns of half the width each."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for name in ("chosen", "rejected"):
        table.add_column(name, ratio=1, overflow="fold")
    table.add_row(chosen, rejected)
    return table


def token_table(found: Sequence[Piece]) -> Table:
    """Return a line for each token: its position from 0, its id, its text, and whether it is trained.

    The tokens of one character share its text, with 1/3, 2/3, 3/3 behind it.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("position", "id"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("trained", no_wrap=True)
    for piece in found:
        for number, id_ in enumerate(piece.ids):
            part = f" {number + 1}/{len(piece.ids)}" if len(piece.ids) > 1 else ""
            text = Text.assemble((on_one_line(piece.text).replace(" ", SPACE), _style(piece)), (part, "dim"))
            table.add_row(str(piece.start + number), str(id_), text, "yes" if piece.trained else "no")
    return table


def _style(piece: Piece) -> str:
    if piece.control:
        return CONTROL_TRAINED if piece.trained else CONTROL_MASKED
    return TRAINED if piece.trained else MASKED
