"""`python -m ollamake plan`: what the next build would do and cost, before it does."""

import json
from typing import Annotated

import typer


def plan(
    stage: Annotated[str | None, typer.Argument(help="the last stage to look at, as for `dvc repro`; all")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set-param", "-S", metavar="KEY=VALUE", help="look ahead with another value; writes nothing"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs: seconds, bytes and words")] = False,
) -> None:
    """Show what `dvc repro` would run and why, and what it would take in time, memory and disk.

    A stage that `follows` runs if what comes before it writes anything new. Exit code 1: it certainly cannot run.
    """
    from rich.console import Console

    from ollamake.plan import show
    from ollamake.plan.outlook import look_ahead

    outlook = look_ahead(stage, overrides or [])
    if as_json:
        typer.echo(json.dumps(show.as_json(outlook), indent=2, ensure_ascii=False))
    else:
        Console(highlight=False, soft_wrap=False).print(show.page(outlook))
    if outlook.impossible:
        raise typer.Exit(1)
