"""`python -m ollamake cloud`: a rented machine for the training of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Target = Literal["train", "evaluate", "convert"]
cloud = typer.Typer(no_args_is_help=True, help="Take the training to a rented GPU.")


@cloud.callback()
def _group() -> None:
    pass  # with a single command and no callback, typer would take `render` for an argument


@cloud.command()
def render(
    out: Annotated[Path, typer.Option(help="the folder to write to, in this repository")] = Path("cloud"),
    gpu: Annotated[str | None, typer.Option(help="by SkyPilot's name; the smallest that fits")] = None,
    infra: Annotated[str, typer.Option("--cloud", help="one of SkyPilot's, such as aws or gcp/us-east4; any")] = "",
    remote: Annotated[str, typer.Option(help="of DVC, for data and results; none: they are copied by hand")] = "",
    until: Annotated[Target, typer.Option(help="the last stage to run there")] = "evaluate",
    parameters: Annotated[float | None, typer.Option(min=1e6, help="of a base model of unknown size: 7e9")] = None,
) -> None:
    """Write a SkyPilot task and a script for any machine, with the GPUs and the memory that the training needs."""
    from ollamake import params
    from ollamake.cloud.machine import choose_machine, count_parameters
    from ollamake.cloud.render import Plan, write
    from ollamake.training.settings import Settings

    if out.is_absolute() or ".." in out.parts:
        raise typer.BadParameter("the files refer to it from within this repository", param_hint="--out")
    content = params.read()
    params.check(content)
    settings = params.select(Settings, content)
    size = int(parameters or count_parameters(content["base_model"]))
    machine = choose_machine(settings, size, content["max_length"], gpu)
    plan = Plan(content["base_model"], settings.method, machine, settings.num_nodes, until, infra, remote)
    for path in write(plan, out):
        typer.echo(path)
    nodes = f"{plan.nodes} × " if plan.nodes > 1 else ""
    typer.echo(f"{nodes}{machine.gpus} × {machine.gpu}: an estimated {machine.estimate}", err=True)
