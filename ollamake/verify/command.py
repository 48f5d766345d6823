"""`python -m ollamake verify`: is all that ships, and all it came from, still what was written?"""

import typer


def verify() -> None:
    """Hash everything that ships and all it came from, against what was recorded: DVC itself believes its cache.

    The base model, the outputs of every stage, DVC's cache, the GGUF, what export wrote, the releases.

    Exit code 1: something was altered; each file is named with the command that mends it.
    """
    from rich.console import Console

    from ollamake.verify.examination import examine_all
    from ollamake.verify.show import show

    results = list(examine_all())
    show(results, Console(highlight=False))
    if any(result.flaws for result in results):
        raise typer.Exit(1)
