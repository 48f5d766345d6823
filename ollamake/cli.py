"""The command line around the graph; `dvc` itself runs the stages."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from ollamake.errors import OllamakeError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="make for fine-tuned models, on DVC.")


def _said_clearly(command: Callable[..., None]) -> Callable[..., None]:
    """Turn an OllamakeError into its message and exit code 1."""

    @wraps(command)
    def wrapped(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except OllamakeError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error

    return wrapped


@app.command()
@_said_clearly
def check() -> None:
    """Check params.yaml and the files that it names, before any work."""
    from ollamake import params, preflight

    content = params.read()
    params.check(content)
    preflight.check(content)
    typer.echo("params.yaml is right, and the data is there")


@app.command()
@_said_clearly
def summary() -> None:
    """Show what the last build came to: scores, parity, sizes, and how to run the model."""
    from ollamake.summary import show

    show()


@app.command()
@_said_clearly
def plots_page(path: Annotated[Path, typer.Argument(help="the HTML file to write")]) -> None:
    """Write the offline page that `dvc plots` fills."""
    from ollamake.plots_page import write_plots_page

    write_plots_page(path)
