"""A study on a screen: its trials, what is left to do, the best against the default."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ollamake.overrides import words
from ollamake.sweep.errors import first_line
from ollamake.sweep.report_data import Results
from ollamake.sweep.search import AGAIN, budget, count, read_spec_of, used_minutes
from ollamake.sweep.spec import Spec, Value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def show_status(results: Results, console: Console) -> None:
    """Print a line for each trial, and how the study stands."""
    spec = read_spec_of(results.study)
    console.print(_trials(results, spec))
    for line in _standing(results, spec):
        console.print(line, highlight=False, soft_wrap=True)


def _trials(results: Results, spec: Spec) -> Table:
    table = Table(title=spec.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("trial", "state", *spec.objective, *spec.space, "seconds"):
        table.add_column(name, overflow="fold", justify="left" if name == "state" else "right")
    table.add_column("ran", overflow="fold")
    best = {trial.number for trial in results.best}
    for trial in results.trials:
        values = [f"{value:.4f}" for value in trial.values or [math.nan] * len(spec.objective)]
        chosen = trial.user_attrs.get("overrides", trial.params)
        table.add_row(
            str(trial.number),
            _state(trial, results) + (" *" if trial.number in best else ""),
            *("" if value == "nan" else value for value in values),
            *(str(chosen.get(name, "")) for name in spec.space),
            f"{trial.user_attrs['seconds']:.0f}" if "seconds" in trial.user_attrs else "",
            " ".join(trial.user_attrs.get("ran", [])),
        )
    return table


def _state(trial: "FrozenTrial", results: Results) -> str:
    repeated = {other.user_attrs[AGAIN]: other.number for other in results.trials if AGAIN in other.user_attrs}
    if trial.number in repeated:
        return f"again as {repeated[trial.number]}"
    if "same_as" in trial.user_attrs:
        return f"same as {trial.user_attrs['same_as']}"
    names = {"fail": "failed", "waiting": "queued"}
    return names.get(trial.state.name.lower(), trial.state.name.lower())


def _standing(results: Results, spec: Spec) -> Iterator[str]:
    done, wanted = count(list(results.trials)), budget(spec)
    running = len(results.by_state["running"])
    yield f"{done} of {wanted} trials" + (f", {running} of them running" if running else "")
    if spec.time_budget_minutes:
        yield f"{used_minutes(list(results.trials)):.1f} of {spec.time_budget_minutes:g} minutes"
    took = [trial.user_attrs["seconds"] for trial in results.complete if trial.user_attrs.get("ran")]
    if took and done - running < wanted:
        minutes = (wanted - done + running / 2) * sum(took) / len(took) / spec.parallel / 60
        yield f"about {minutes:.0f} minutes left, as trials went so far with {spec.parallel} at once"
    for number, error in _errors(results.by_state["fail"]):
        yield f"trial {number} failed: {error}"
    if spec.fixed:
        yield f"in every trial: {' '.join(words(spec.fixed))}"
    if results.best:
        yield f"* the best so far: `python -m ollamake sweep best {spec.name}`"


def _errors(trials: "Sequence[FrozenTrial]") -> Iterator[tuple[int, str]]:
    for trial in trials:
        if "seconds" in trial.user_attrs:  # else it was broken off, and is tried again
            yield trial.number, first_line(str(trial.user_attrs.get("error", "")))


def show_best(results: Results, console: Console) -> None:
    """Print the best trials beside the default, and the commands that use one of them."""
    spec = read_spec_of(results.study)
    if not results.best:
        console.print("no trial has finished yet: `python -m ollamake sweep status` shows how they stand")
        return
    console.print(_comparison(results, spec))
    for trial in results.best:
        point = {name: value for name, value in trial.user_attrs["overrides"].items() if name not in spec.fixed}
        full = ", in full, without `fixed`" if spec.fixed else ""
        number = f" --trial {trial.number}" if len(results.best) > 1 else ""
        console.print(f"trial {trial.number}{full}: {run_line(point)}", highlight=False, soft_wrap=True)
        apply = f"python -m ollamake sweep apply {spec.name}{number}"
        console.print(f"trial {trial.number}, as it ran: {apply}", highlight=False, soft_wrap=True)


def run_line(overrides: Mapping[str, Value]) -> str:
    """Return the command that runs the graph with these overrides."""
    return " ".join(["dvc exp run", *(f"-S {shlex.quote(word)}" for word in words(overrides))])


def _comparison(results: Results, spec: Spec) -> Table:
    """Return a table with a column for HEAD, the default's own trial and each of the best."""
    head = results.study.user_attrs["default"]
    first = results.default
    shown = [*([first] if first and first not in results.best else []), *results.best]
    table = Table(title=spec.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("HEAD", *(f"{'default, ' if trial is first else ''}trial {trial.number}" for trial in shown)):
        table.add_column(name, justify="right")
    for name in dict.fromkeys([*spec.objective, *head["metrics"]]):
        row = [_number(head["metrics"].get(name), results.interval(results.base_rev, name))]
        found = [(trial.user_attrs["metrics"].get(name), trial.user_attrs["rev"]) for trial in shown]
        table.add_row(name, *row, *(_number(value, results.interval(rev, name)) for value, rev in found))
    for name in [*spec.space, *spec.fixed]:
        row = [
            {**head["params"], **head["fixed"]}.get(name, ""),
            *(trial.user_attrs["overrides"].get(name, "") for trial in shown),
        ]
        table.add_row(name, *(str(value) for value in row))
    return table


def _number(value: float | None, interval: Sequence[float] | None) -> str:
    """Return a score with the ends of its 95 % interval where that is known."""
    if value is None:
        return ""
    return f"{value:.4g}" + (f" ({interval[0]:.3g} to {interval[1]:.3g})" if interval else "")
