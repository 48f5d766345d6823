"""A comparison on a terminal, or in a pipe: what differs, or all of it; readable without colour."""

import os

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ollamake.compare.document import Conversation, Document, Section
from ollamake.compare.table import Cell, Mark, Table
from ollamake.look.visible import on_one_line, visible

PIPED_WIDTH = 100
SHOWN = 5  # answers
REVISIONS = 3  # beside the reference in one table; more would not fit
STYLES = {Mark.BETTER: "green", Mark.WORSE: "red", Mark.CHANCE: "dim", Mark.NONE: ""}
LABEL_WIDTH = 22


def console() -> Console:
    """Return a console for stdout, as wide as the terminal, or wide enough for the tables in a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=PIPED_WIDTH)


def show(document: Document, out: Console, *, everything: bool) -> None:
    """Print the comparison; `everything` adds what is the same in all builds, and every answer that changed."""
    for sentence in document.lead:
        out.print(Text(visible(sentence)))
    for remark in document.remarks:
        out.print(Text(f"! {visible(remark)}", style="yellow"))
    for section in document.sections:
        if section.charts and not section.tables:
            continue
        if section.differs or everything:
            _section(section, out, everything=everything)
    same = [section.same for section in document.sections if section.same and not section.differs]
    if same and not everything:
        sentences = (f"{sentence[0].upper()}{sentence[1:]}." for sentence in same)
        out.print(Text(f"\n{' '.join(sentences)}"))


def _section(section: Section, out: Console, *, everything: bool) -> None:
    out.print(Text(f"\n{visible(section.title)}", style="bold"))
    for table in section.tables:
        if table.detail and not everything:
            continue
        shown = table if everything else table.differing
        if shown.lines:
            for part in shown.parts(REVISIONS):
                out.print(_table(part, is_titled=len(section.tables) > 1))
    for note in section.notes:
        out.print(Text(visible(note), style="yellow" if note.startswith("!") else ""))
    chosen = section.conversations if everything else section.conversations[:SHOWN]
    for conversation in chosen:
        _conversation(conversation, out)
    if len(chosen) < len(section.conversations):
        out.print(Text(f"\n{len(section.conversations) - len(chosen)} more: `--all`"))


def _table(table: Table, *, is_titled: bool) -> RichTable:
    title = Text(table.title, style="italic") if is_titled and table.title else None
    drawn = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(table.head):
        drawn.add_column(Text(name), justify="right" if place and not table.texts else "left", overflow="fold")
    for line in table.lines:
        drawn.add_row(Text(on_one_line(line.name)), *map(_cell, line.cells))
    return drawn


def _cell(cell: Cell) -> Text:
    # A word says it already where there is a column for words.
    mark = f" {cell.mark}" if cell.mark and any(character.isdigit() for character in cell.text) else ""
    return Text(on_one_line(cell.text) + mark, style=STYLES[cell.mark])


def _conversation(conversation: Conversation, out: Console) -> None:
    first, *rest = conversation.answers
    changes = ", ".join(f"{answer.name} {answer.score}{f' {answer.mark}' if answer.mark else ''}" for answer in rest)
    out.print(Text(f"\n{on_one_line(conversation.id)}: {first.name} {first.score}, {changes}"))
    known = [("prompt", conversation.prompt), ("reference", conversation.reference)] if conversation.prompt else []
    texts = [*known, *((answer.name, answer.text) for answer in conversation.answers)]
    grid = RichTable.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(style="dim", width=min(LABEL_WIDTH, 2 + max(len(label) for label, _ in texts)), overflow="fold")
    grid.add_column(overflow="fold")
    for label, text in texts:
        grid.add_row(Text(f"  {label}"), Text(visible(text)))
    out.print(grid)
