"""`python -m ollamake sweep`: a search for better parameters, each trial a DVC experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ollamake.sweep.views import Storage, Study, views

if TYPE_CHECKING:
    from rich.console import Console

    from ollamake.sweep.trial import Sweep

sweep = typer.Typer(no_args_is_help=True, help="Search for better parameters; each trial is a DVC experiment.")
sweep.add_typer(views)  # report, dashboard, serve
File = Annotated[Path, typer.Argument(help="what to search, and how")]
Number = Annotated[int | None, typer.Option("--trial", help="number of the trial; the best if left out")]


@sweep.command()
def run(file: File = Path("sweep.yaml"), storage: Storage = None) -> None:
    """Begin the sweep that the file describes, or go on with it; several may run at once and share the work."""
    from ollamake.sweep.begin import begin_sweep

    _drive(begin_sweep(file, storage, _say))


@sweep.command()
def resume(study: Study = None, storage: Storage = None) -> None:
    """Go on with a sweep as it was begun, whatever sweep.yaml says now."""
    from ollamake.sweep.begin import resume_sweep

    _drive(resume_sweep(study, storage, _say))


@sweep.command()
def stop(
    study: Study = None,
    storage: Storage = None,
    now: Annotated[bool, typer.Option("--now", help="break off the running trials; they are queued again")] = False,
) -> None:
    """Stop a sweep, on all machines, when its running trials have ended."""
    from ollamake.sweep.driver import AFTER, NOW, STOP
    from ollamake.sweep.report_data import find_study

    found = find_study(storage, study)
    found.set_user_attr(STOP, NOW if now else AFTER)
    typer.echo(f"{found.study_name} stops; `python -m ollamake sweep resume {found.study_name}` goes on")


@sweep.command()
def status(study: Study = None, storage: Storage = None) -> None:
    """Show every trial with its result, and how much is left to do."""
    from ollamake.sweep.report_data import read_results
    from ollamake.sweep.show import show_status

    show_status(read_results(storage, study), _console())


@sweep.command()
def best(study: Study = None, storage: Storage = None) -> None:
    """Show the best trial beside the default, and the commands that use it."""
    from ollamake.sweep.report_data import read_results
    from ollamake.sweep.show import show_best

    show_best(read_results(storage, study), _console())


@sweep.command()
def apply(study: Study = None, storage: Storage = None, trial: Number = None) -> None:
    """Put the best trial's parameters and results into the workspace (dvc exp apply)."""
    from ollamake.sweep.apply import apply_trial
    from ollamake.sweep.report_data import read_results

    typer.echo(apply_trial(read_results(storage, study), trial))


def _drive(begun: "Sweep") -> None:
    from ollamake.sweep.driver import Driver
    from ollamake.sweep.search import budget, count

    Driver(begun).drive()
    name, done, wanted = begun.spec.name, count(begun.study.get_trials(deepcopy=False)), budget(begun.spec)
    if done < wanted:
        _say(f"{done} of {wanted} trials; `python -m ollamake sweep resume {name}` goes on")
    _say(
        f"`python -m ollamake sweep best {name}` compares the best with the default, `sweep report {name}` draws it all"
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)
