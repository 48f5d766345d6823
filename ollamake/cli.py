"""The command line around the graph; `dvc` itself runs the stages."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ollamake.catalog.commands import models
from ollamake.cloud.commands import cloud
from ollamake.errors import OllamakeError
from ollamake.look.commands import data
from ollamake.modes.commands import mode
from ollamake.plan.command import plan
from ollamake.release.commands import release
from ollamake.sweep.commands import sweep
from ollamake.verify.command import verify

# The panels of --help, in the order in which a person meets them.
LOOK, BEGIN, TRY, SHIP, TOOLS = PANELS = (
    "Before and after a build",
    "What goes in",
    "Try and compare",
    "Ship and watch",
    "This repository",
)
EXAMPLES = """Examples:

  python -m ollamake doctor                       is this machine fit for it?

  python -m ollamake data check data/mine.jsonl   every finding in a file

  python -m ollamake mode design                  a first look, in minutes

`make build` or `dvc repro` build the model; README.md and docs/ tell the rest."""


class _Edge(TyperGroup):
    """The edge of the program: here an OllamakeError becomes its message and exit code 1."""

    def list_commands(self, ctx: Any) -> list[str]:
        panel = {name: getattr(command, "rich_help_panel", None) for name, command in self.commands.items()}
        return sorted(super().list_commands(ctx), key=lambda name: (*PANELS, panel[name]).index(panel[name]))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OllamakeError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Edge,
    no_args_is_help=True,
    add_completion=False,
    help="make for fine-tuned models: what stands around the graph that `dvc repro` runs.",
    epilog=EXAMPLES,
)
app.command(rich_help_panel=LOOK)(plan)
app.add_typer(data, name="data", rich_help_panel=BEGIN)
app.add_typer(models, name="models", rich_help_panel=BEGIN)
app.add_typer(mode, name="mode", rich_help_panel=TRY)
app.add_typer(sweep, name="sweep", rich_help_panel=TRY)
app.add_typer(release, name="release", rich_help_panel=SHIP)
app.add_typer(cloud, name="cloud", rich_help_panel=TRY)
app.command(rich_help_panel=SHIP)(verify)


@app.command(rich_help_panel=LOOK)
def check() -> None:
    """Check params.yaml and the files that it names, before any work, and mend a dvc.lock that a kill has cut."""
    from ollamake.ready import make_ready

    make_ready()
    typer.echo("params.yaml is right, and the data is there")


@app.command(rich_help_panel=LOOK)
def summary() -> None:
    """Show what the last build came to: scores, parity, sizes, and how to run the model."""
    from ollamake.summary import show

    show()


@app.command(rich_help_panel=LOOK)
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="hash all of DVC's cache, however long it takes")] = False,
    json: Annotated[bool, typer.Option("--json", help="print a list of findings for programs")] = False,
) -> None:
    """Look whether this machine and this workspace are fit for a build: ✓ fine, ! to know, ✗ to mend, – skipped.

    Nothing is changed or downloaded.

    Exit code 1: what is marked with ✗ would stop a build or an experiment.
    """
    from ollamake.doctor.examination import examine
    from ollamake.doctor.show import as_json, show
    from ollamake.doctor.subject import Subject

    findings = examine(Subject(deep=deep))
    if json:
        typer.echo(as_json(findings))
    else:
        show(findings)
    raise typer.Exit(any(finding.status == "failure" for finding in findings))


@app.command(rich_help_panel=SHIP)
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


@app.command(rich_help_panel=TRY)
def compare(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REV",
            help="commits, branches, tags, experiments, releases, or `workspace`; the first is what the others are "
            "compared with. One is compared with the workspace; without any, HEAD is",
            show_default=False,
        ),
    ] = None,
    html: Annotated[Path, typer.Option(help="the page to write")] = Path("logs/compare.html"),
    everything: Annotated[bool, typer.Option("--all", help="print what is the same as well, and every answer")] = False,
) -> None:
    """Show what differs between builds: parameters, scores, answers, curves, data, code, time and memory."""
    from ollamake.compare.commands import run

    run(revisions or [], html, everything=everything)


@app.command(rich_help_panel=TOOLS)
def completion(shell: Annotated[Literal["bash", "zsh"], typer.Argument(help="yours")]) -> None:
    """Print what makes a shell complete commands, options and parameters: source <(python -m ollamake completion bash).

    It defines `ollamake` as short for `python -m ollamake`.
    """
    from ollamake.completion import SCRIPT, ZSH

    typer.echo((ZSH if shell == "zsh" else "") + SCRIPT, nl=False)


@app.command(rich_help_panel=TOOLS)
def docs() -> None:
    """Write docs/reference and the picture of the README anew, from params.yaml, dvc.yaml, --help and metrics/."""
    from ollamake.reference.write import write_reference

    for path in write_reference():
        typer.echo(path)


@app.command(rich_help_panel=TOOLS)
def plots_page(path: Annotated[Path, typer.Argument(help="the HTML file to write")]) -> None:
    """Write the offline page that `dvc plots` fills."""
    from ollamake.plots_page import write_plots_page

    write_plots_page(path)
