"""The command line around the graph; `dvc` itself runs the stages."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ollamake.cloud.commands import cloud
from ollamake.errors import OllamakeError
from ollamake.look.commands import data
from ollamake.release.commands import release


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
app.add_typer(release, name="release")


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
def lm_eval(
    tasks: Annotated[list[str], typer.Argument(help="tasks of lm-eval, in which the model writes something")],
    limit: Annotated[int | None, typer.Option(min=1, help="rows of each task; all by default")] = None,
    include_path: Annotated[Path | None, typer.Option(help="folder with task files of your own")] = None,
    out: Annotated[Path, typer.Option(help="the JSON file to write")] = Path("logs/lm-eval.json"),
) -> None:
    """Run tasks of lm-eval (a package of its own) on the served model."""
    from ollamake import lm_eval, params

    content = params.read()
    wish = lm_eval.Wish(tasks, include_path, limit, content["ollama_seed"])
    typer.echo(lm_eval.run(content["ollama_model"], wish, out))


@app.command()
def plots_page(path: Annotated[Path, typer.Argument(help="the HTML file to write")]) -> None:
    """Write the offline page that `dvc plots` fills."""
    from ollamake.plots_page import write_plots_page

    write_plots_page(path)
