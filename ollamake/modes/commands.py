"""`python -m ollamake mode`: the same graph for five purposes, from a first look to the watch over what is served."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ollamake.completion import parameters, releases

DRIFTED = 3  # exit code: measured, and not what was released; 1 is that nothing could be measured
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set-param",
        "-S",
        metavar="KEY=VALUE",
        autocompletion=parameters,
        help="another value over the mode's; may be repeated",
    ),
]
mode = typer.Typer(no_args_is_help=True, help="The same graph for five purposes: a first look to a watch over prod.")


@mode.command()
def design(set_: Sets = None) -> None:
    """Try the data and the settings on a slice, in minutes: an experiment that leaves the workspace alone."""
    name = _experiment("design", set_, target="gate")
    _say_next(
        name,
        {
            f"dvc get . models/samples.md --rev {name} --out logs/{name}.md": "all its answers",
            "make engineering": "the same with all the data",
        },
    )


@mode.command()
def engineering() -> None:
    """Build what params.yaml says, with everything that a build has, and show what changed since the last commit."""
    from ollamake.modes import experiment, tables
    from ollamake.ready import make_ready

    make_ready()
    experiment.build()
    tables.show_build()
    tables.show_changes()
    typer.echo("`python -m ollamake compare HEAD` tells more; then git add --all && git commit, and make testing")


@mode.command("testing")
def measure(set_: Sets = None) -> None:
    """Measure the model on all test conversations and in several sizes; nothing is trained again, nothing served."""
    name = _experiment("testing", set_, target="report")
    _say_next(
        name,
        {
            f"dvc get . models/report.html --rev {name} --out logs/{name}.html": "all of it on one page",
            "make deployment": "release the build of the workspace",
        },
    )


@mode.command()
def deployment(
    bump: Annotated[Literal["major", "minor", "patch"], typer.Option(help="which number counts up")] = "minor",
) -> None:
    """Build, make a release of it and let prod name that: the gate and the proof in the server stop what is worse."""
    from ollamake.modes import experiment
    from ollamake.ready import make_ready
    from ollamake.release import commands, repository
    from ollamake.release.session import reading

    make_ready()
    repository.require_identity()
    with reading():  # before any work: without a server there is nothing to release to
        pass
    experiment.build()
    commands.create(bump=bump)
    commands.promote()
    typer.echo("go on with `git push --follow-tags && dvc push`; `python -m ollamake release rollback` takes it back")


@mode.command()
def maintenance(
    version: Annotated[
        str | None, typer.Argument(autocompletion=releases, help="a release; else that of prod, or the last build")
    ] = None,
) -> None:
    """Prove the served model again and score its answers against the recorded ones; exit code 3 when it drifted.

    One JSON line a look goes to logs/monitor.jsonl.
    """
    from ollamake.modes.maintenance import look

    if look(version):
        raise typer.Exit(DRIFTED)


def _say_next(name: str, commands: dict[str, str]) -> None:
    Path("logs").mkdir(exist_ok=True)  # where the commands write to
    typer.echo(f"{name} is an experiment of DVC; the workspace and params.yaml are as they were. Go on with\n")
    for command, what in commands.items():
        typer.echo(f"    {command:<{max(map(len, commands))}}  # {what}")


def _experiment(name: str, given: list[str] | None, target: str) -> str:
    from ollamake import params, preflight
    from ollamake.modes import experiment, presets, tables
    from ollamake.ready import mend

    mend()
    chosen = presets.overrides(name, given or [])
    preflight.check({**params.read(), **chosen})
    made = experiment.run(name, chosen, target)
    tables.show_experiment(made, parity=target == "report")
    return made
