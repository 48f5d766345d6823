"""The report of a study in words and tables: what it came to, the best against the default, every trial."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ollamake.overrides import words
from ollamake.report.document import Document, Section
from ollamake.report.markdown import bullets, code, commands, plain, table
from ollamake.report.scores import DASH, amount
from ollamake.scoring.names import MEASURES, measure
from ollamake.sweep.report_data import LEAST, TOP, Results
from ollamake.sweep.report_drawing import short
from ollamake.sweep.search import AGAIN

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FRONT = "In blue the trials that none beats in both: between them, one objective pays for the other."
SHOWN = 5  # trials beside the default, where several are best
COLUMNS = ("trial", "", "experiment", "parameters", "ran", "s")
WORDS = {"complete": "finished", "pruned": "pruned", "fail": "failed", "running": "running", "waiting": "waiting"}


def build(results: Results, shares: Mapping[str, float], drawn: Sequence[str]) -> Document:
    """Return the document; `shares` is the importance of each parameter, `drawn` names the charts there are."""

    def charts(*kinds: str) -> list[str]:
        return [name for name in drawn if name.startswith(kinds)]

    sections = [
        Section("Best against default", "\n\n".join(_best(results))),
        Section("Optimisation history", _history(results), charts("history")),
        Section("Parameters", _parallel(), charts("parallel")),
        Section("Importance", _importance(results, shares), charts("importance")),
        Section("Cost against quality", _cost(results), charts("cost")),
        *([Section("Objectives against each other", FRONT, charts("front"))] if charts("front") else []),
        Section("Pruned trials", _pruned(results), charts("reported")),
        Section("All trials", "\n\n".join(_all(results))),
    ]
    return Document(f"Sweep {plain(results.study.study_name)}", _lead(results), sections)


def _lead(results: Results) -> str:
    counts = ", ".join(
        f"{len(results.by_state[name])} {word}" for name, word in WORDS.items() if results.by_state[name]
    )
    lines = [f"{len(results.trials)} trials: {counts}."]
    if seconds := sum(trial.user_attrs.get("seconds", 0) for trial in results.trials):
        machines = {trial.user_attrs["machine"] for trial in results.trials if "machine" in trial.user_attrs}
        lines.append(f"{_duration(seconds)} of work" + (f" on {len(machines)} machines." if len(machines) > 1 else "."))
    if spec := results.spec:
        lines.append(f"Sampler {spec['sampler']}, pruner {spec['pruner']}, seed {spec['seed']}.")
    return " ".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def _best(results: Results) -> Iterator[str]:
    """Yield the best trials beside the default, and how far that can be trusted."""
    shown = results.best[:SHOWN]
    if not shown:
        yield "No trial has finished yet."
        return
    if len(results.objectives) > 1:
        more = f"; the first {SHOWN} of {len(results.best)}" if len(results.best) > SHOWN else ""
        yield f"Best is what no other trial beats in one objective without losing in another{more}."
    yield _comparison(results, shown)
    if results.fixed:
        like = f" compare with trial {results.default.number}, which has its values" if results.default else ""
        yield f"All trials ran with {_codes(results.fixed)}, and HEAD did not:{like or ' it does not compare'}."
    yield from (line for place in range(len(results.objectives)) for line in _caution(results, place))
    yield commands("python -m ollamake sweep apply  # takes the best into the workspace", "dvc exp show  # lists all")


def _comparison(results: Results, shown: "Sequence[FrozenTrial]") -> str:
    """Return a table with a column for the commit that the study began from, the default's trial, and each shown."""
    default = results.default
    trials = [*([default] if default and default not in shown else []), *shown]
    titles = [f"trial {trial.number}" + ", default" * (trial is default) for trial in trials]
    params = [results.head_params, *(results.drawn(trial) for trial in trials)]
    metrics = [results.head_metrics, *(results.metrics(trial) for trial in trials)]
    revs = [results.base_rev, *(trial.user_attrs.get("rev") for trial in trials)]
    rows = [[code(name), *(_word(values.get(name)) for values in params)] for name in results.params]
    wanted = [objective.name for objective in results.objectives]
    others = [name for name in MEASURES if name not in wanted and any(name in found for found in metrics)]
    for name in [*wanted, *others]:
        label = plain(measure(name).label)
        scores = (_score(results, found.get(name), name, rev) for found, rev in zip(metrics, revs, strict=True))
        rows.append([f"**{label}**" if name in wanted else label, *scores])
    return table(["", "HEAD", *titles], rows)


def _score(results: Results, value: float | None, name: str, rev: str | None) -> str:
    if value is None:
        return DASH
    ends = results.interval(rev, name)
    return amount(name, value) + (f" [{amount(name, ends[0])}, {amount(name, ends[1])}]" if ends else "")


def _caution(results: Results, place: int) -> Iterator[str]:
    """Yield what speaks against the best: the default is as good, or may be, and it was chosen among many."""
    objective, best = results.objectives[place], results.leader(place)
    said, value = plain(short(objective)), best.values[place]
    default = results.default_metrics.get(objective.name)
    ends = results.interval(best.user_attrs.get("rev"), objective.name)
    if default is not None and not objective.better(value, default):
        yield f"By {said}, no trial beats the default."
    elif default is not None and ends and ends[0] <= default <= ends[1]:
        yield f"By {said}, the default lies within the 95 % interval of the best: the gain may be chance."
    if len(results.complete) > 1 and place == 0:
        yield (
            f"The best of {len(results.complete)} trials was chosen by the same rows that score it, and so looks a "
            "little better than it is."
        )


def _history(results: Results) -> str:
    if not results.complete:
        return "No trial has finished yet."
    default = ", dashed the default" if any(one.name in results.default_metrics for one in results.objectives) else ""
    return f"Each point is a finished trial, the line the best so far{default}."


def _parallel() -> str:
    return "A line is a trial: dark ones came to better values. Below its axis: a parameter that a condition left out."


def _importance(results: Results, shares: Mapping[str, float]) -> str:
    if shares:
        return (
            f"How much the best {max(TOP, -(-len(results.complete) // 10))} of {len(results.complete)} trials have in "
            "common in each parameter (PED-ANOVA). A small share: within this range any value does."
        )
    return (
        f"That wants {LEAST} finished trials and more than one parameter; {len(results.complete)} trials have finished."
    )


def _cost(results: Results) -> str:
    if len(results.timed) < 2:
        return "That wants two finished trials."
    return "Seconds are those of the stages that a trial ran: what other trials had made already costs nothing again."


def _pruned(results: Results) -> str:
    pruned = results.by_state["pruned"]
    if not pruned:
        return "No trial was pruned."
    rows = []
    for trial in pruned:
        step = trial.last_step
        last = DASH if step is None else f"{trial.intermediate_values[step]:.4g}"
        rows.append([str(trial.number), _overrides(trial), DASH if step is None else str(step), last])
    said = "What a trial reports after each validation; of a loss its negative, where more of the objective is better."
    return said + "\n\n" + table(["trial", "parameters", "ended after", "last value"], rows, left=2)


def _all(results: Results) -> Iterator[str]:
    """Yield the table of all trials, and why the failed ones failed."""
    head = [*COLUMNS, *(plain(measure(one.name).label) for one in results.objectives)]
    yield table(head, [_row(results, trial) for trial in results.trials], left=len(COLUMNS) - 1)
    if failed := [trial for trial in results.by_state["fail"] if "error" in trial.user_attrs]:
        yield "Why trials failed:"
        yield bullets(f"trial {trial.number}: {code(str(trial.user_attrs['error']))}" for trial in failed)


def _row(results: Results, trial: "FrozenTrial") -> list[str]:
    metrics, attributes = results.metrics(trial), trial.user_attrs
    return [
        str(trial.number),
        _state(results, trial),
        code(attributes["experiment"]) if "experiment" in attributes else DASH,
        _overrides(trial),
        f"as trial {attributes['same_as']}" if "same_as" in attributes else " ".join(attributes.get("ran", [])) or DASH,
        f"{attributes['seconds']:,.0f}" if "seconds" in attributes else DASH,
        *(_score(results, metrics.get(one.name), one.name, attributes.get("rev")) for one in results.objectives),
    ]


def _state(results: Results, trial: "FrozenTrial") -> str:
    again = (other.number for other in results.trials if other.user_attrs.get(AGAIN) == trial.number)
    return next((f"again as {number}" for number in again), WORDS[trial.state.name.lower()])


def _overrides(trial: "FrozenTrial") -> str:
    return _codes(trial.user_attrs.get("overrides", trial.params))


def _codes(overrides: Mapping[str, Any]) -> str:
    return " ".join(code(word) for word in words(overrides))


def _word(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:.6g}" if isinstance(value, float) else plain(str(value))
