"""`python -m ollamake data`: what the model is trained on, how much of it there is, what is wrong with a file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Shape = Literal["auto", "instruction", "prompt", "messages", "conversations", "text", "preference", "thumbs"]
Split = Literal["train", "val", "test"]
data = typer.Typer(no_args_is_help=True, help="See the data: rows as the model sees them, numbers, what is wrong.")


@data.command()
def show(
    split: Annotated[Split, typer.Option(help="which split")] = "train",
    row: Annotated[int | None, typer.Option(min=1, help="which row, from 1 (the default)", show_default=False)] = None,
    id_: Annotated[str | None, typer.Option("--id", help="the row with this id, in place of --row")] = None,
    pack: Annotated[int | None, typer.Option(min=1, help="all conversations of this packed training row")] = None,
    ids: Annotated[bool, typer.Option("--ids", help="one line a token: position, id, text, trained")] = False,
) -> None:
    """Show a tokenized conversation: which tokens are trained, and which are only read."""
    from rich.console import Console

    from ollamake.look.show import show_pack, show_row

    if sum(given is not None for given in (row, id_, pack)) > 1:
        raise typer.BadParameter("--row, --id and --pack each name a row: give one of them")
    if pack is not None and split != "train":
        raise typer.BadParameter("only the train split is packed", param_hint="--pack")
    console = Console(highlight=False)
    if pack is not None:
        show_pack(pack, console, ids=ids)
    else:
        show_row(split, row or id_ or 1, console, ids=ids)


@data.command()
def stats() -> None:
    """Show how much data there is, what became of every row, and how long the conversations are."""
    from rich.console import Console

    from ollamake.look.stats import stats as show_stats

    show_stats(Console(highlight=False))


@data.command()
def check(
    file: Annotated[Path, typer.Argument(help="a data file of any format, or a folder of them")],
    shape: Annotated[Shape, typer.Option(help="which fields of a row to read, as row_shape in params.yaml")] = "auto",
    limit: Annotated[int, typer.Option(min=0, help="list at most so many findings, count the rest; 0 = all")] = 0,
) -> None:
    """List everything that is wrong with the rows of a file, without building; fails when a row is rejected."""
    from ollamake.look.check import check as check_file

    if check_file(file, shape, limit):
        raise typer.Exit(1)
