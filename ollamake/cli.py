"""The command line around the graph; `dvc` itself runs the stages."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ollamake.cloud.commands import cloud
from ollamake.errors import OllamakeError
from ollamake.look.commands import data


class _Edge(TyperGroup):
    """The edge of the program: here an OllamakeError becomes its message and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OllamakeError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


app = typer.Typer(cls=_Edge, no_args_is_help=True, add_completion=False, help="make for fine-tuned models, on DVC.")
app.add_typer(data, name="data")
app.add_typer(cloud, name="cloud")


@app.command()
def check() -> None:
    """Check params.yaml and the files that it names, before any work."""
    from ollamake import params, preflight

    content = params.read()
    params.check(content)
    preflight.check(content)
    typer.echo("params.yaml is right, and the data is there")


@app.command()
def summary() -> None:
    """Show what the last build came to: scores, parity, sizes, and how to run the model."""
    from ollamake.summary import show

    show()


@app.command()
def plots_page(path: Annotated[Path, typer.Argument(help="the HTML file to write")]) -> None:
    """Write the offline page that `dvc plots` fills."""
    from ollamake.plots_page import write_plots_page

    write_plots_page(path)
