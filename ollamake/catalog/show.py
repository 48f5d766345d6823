"""Base models on a screen: the table of all, all that is known of one, and a ranking with its reasons."""

import os
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ollamake.catalog.cards import Model
from ollamake.catalog.choice import USUAL_METHODS, Candidate
from ollamake.catalog.memory import METHODS, Fit, best_fit, conversion_bytes, scoring_bytes, training_bytes
from ollamake.plan.machine import Machine

NAMED = 5
MARGIN = 14


def show_list(models: list[Model], machine: Machine, content: Mapping[str, Any], console: Console) -> None:
    """Print a line for each model: what it is, what its training takes, and by which method it fits the machine."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "licence"):
        table.add_column(name, no_wrap=True)
    for name in ("size", "window", *METHODS, "score"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("fits", no_wrap=True)
    for model in models:
        entry, fit = model.entry, best_fit(model, content, machine)
        table.add_row(
            model.name,
            f"{entry.license}{' *' if entry.gated else ''}",
            _count(entry.parameters).replace(" ", ""),
            f"{round(entry.context_length / 1024)} k",
            *(_gigabytes(training_bytes(model, method, content, machine)) for method in METHODS),
            _gigabytes(_scored(model, content, machine)),
            f"{fit.method}{_reduced(fit, content) and '+'}" if fit else "–",
        )
    console.print(table)
    _print(f"full, lora, qlora: GB that training takes at most, {_basis(machine, content)}", console)
    _print("window: tokens of context", console)
    _print("score: GB that baseline and evaluate take by lora and qlora, which hold all weights unquantized", console)
    _print(f"fits: the first of them by which a whole build fits {_room(machine)}", console)
    _print("+: with a smaller eval_batch_size, which `models show NAME` tells", console)
    _print("*: its licence has to be accepted on the hub first", console)


def describe(model: Model, machine: Machine, content: Mapping[str, Any], console: Console) -> None:
    """Print all that is known of a model, with the sources, a line each."""
    for name, text in _facts(model, machine, content).items():
        _print(f"{name:<{MARGIN}}{text}", console, indent=MARGIN)


def _facts(model: Model, machine: Machine, content: Mapping[str, Any]) -> dict[str, str]:
    entry, licence, shape = model.entry, model.licence, model.shape
    page = f"https://huggingface.co/{entry.hub_id}"
    needs = {method: _gigabytes(training_bytes(model, method, content, machine)) for method in METHODS}
    experts = f" with {shape.experts} experts" if shape.experts > 1 else ""
    return {
        "model": model.name,
        "page": page,
        "commit": entry.revision or "the newest",
        "size": f"{entry.parameters:,} parameters",
        "shape": f"{entry.architecture}: {shape.layers} layers{experts}, {shape.width} wide, "
        f"{shape.vocabulary:,} tokens",
        "context": f"{entry.context_length:,} tokens",
        "made for": f"{', '.join(model.tasks)} (says {model.family.says})",
        "languages": f"{', '.join(model.family.languages)} (says the same)",
        "licence": f"{entry.license}. {licence.terms} {licence.text}",
        "access": f"accept the licence at {page}, then `hf auth login`" if entry.gated else "open",
        "comes as": ", ".join(model.formats),
        "prompts": entry.chat_format if model.served else f"{entry.chat_format}: {_unserved(model)}",
        "train": ", ".join(f"{method} {need} GB" for method, need in needs.items())
        + f" at most, {_basis(machine, content)}",
        "score": f"{_gigabytes(_scored(model, content, machine))} GB for baseline and evaluate by lora and qlora, "
        f"{content['eval_batch_size']} prompts at once (eval_batch_size)",
        "convert": f"{_gigabytes(conversion_bytes(model, content, machine))} GB of the machine's memory",
        "serve": f"{entry.serve_memory_gb} GB as Q8_0 (an estimate)",
        "here": _here(model, machine, content),
    }


def show_ranking(candidates: list[Candidate], content: Mapping[str, Any], count: int, console: Console) -> None:
    """Print the best of the candidates with their reasons and what to run, and what the others lack."""
    fitting = [candidate for candidate in candidates if not candidate.objections]
    for place, candidate in enumerate(fitting[:count], start=1):
        model = candidate.model
        _print(f"{place}. {model.name}, {_count(model.entry.parameters)} parameters, {candidate.fit.method}", console)
        _print(f"   {'; '.join(candidate.reasons)}", console, indent=3)
        _print(f"   `{_command(model, candidate.fit.method, _reduced(candidate.fit, content))}`", console, indent=3)
    if not fitting:
        _print("none fits all of that; the nearest lack:", console)
        for candidate in sorted(candidates, key=lambda candidate: len(candidate.objections))[:count]:
            _print(f"   {candidate.model.name}: {'; '.join(candidate.objections)}", console, indent=6)
    elif others := [candidate for candidate in candidates if candidate.objections]:
        first = Counter(_kind(candidate.objections[0]) for candidate in others)
        why = ", ".join(f"{number} {kind}" for kind, number in first.most_common(NAMED))
        _print(f"{len(others)} of {len(candidates)} left out: {why}", console)


def _kind(objection: str) -> str:
    """Return an objection without what is the model's own."""
    kinds = {
        "made for": "by task",
        "licence": "by licence",
        "its languages": "by language",
        "a context": "by context",
        "comes as": "by format",
        "no template": "not to be served yet",
    }
    return next((kind for start, kind in kinds.items() if objection.startswith(start)), "by memory")


def _command(model: Model, method: str, more: str) -> str:
    return f"dvc exp run -S base_model={model.name} -S method={method}{more}"


def _reduced(fit: Fit, content: Mapping[str, Any]) -> str:
    """Return the override for the batches of the scoring stages, empty where they fit as params.yaml has them."""
    return "" if fit.eval_batch_size == content["eval_batch_size"] else f" -S eval_batch_size={fit.eval_batch_size}"


def _scored(model: Model, content: Mapping[str, Any], machine: Machine) -> float:
    return max(scoring_bytes(model, "lora", content, machine).values())


def _here(model: Model, machine: Machine, content: Mapping[str, Any]) -> str:
    best = best_fit(model, content, machine)
    if not best:
        return f"fits by no method {_room(machine)}"
    if not model.served:
        return f"by {best.method} it fits {_room(machine)}, but see prompts"
    usual = best_fit(model, content, machine, USUAL_METHODS) or best
    return f"by {best.method} it fits {_room(machine)}; `{_command(model, usual.method, _reduced(usual, content))}`"


def _unserved(model: Model) -> str:
    own = "it has no chat template, so set chat_template; " if model.entry.chat_format == "none" else ""
    return f"{own}no template for Ollama here writes its prompts yet, so `convert` would refuse it"


def _basis(machine: Machine, content: Mapping[str, Any]) -> str:
    size, length = content["per_device_batch_size"], content["max_length"]
    return f"in batches of {size} × {length} tokens (params.yaml) on {'a GPU' if machine.gpu else 'a CPU'}, calculated"


def _room(machine: Machine) -> str:
    where = machine.gpu or ("a GPU" if machine.gpu else "memory")
    return f"into {machine.memory_bytes / 1e9:.0f} GB of {where}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def _gigabytes(size_bytes: float) -> str:
    size = size_bytes / 1e9
    return f"{size:.1f}" if size < 10 else f"{size:.0f}"


def _print(text: str, console: Console, indent: int = 0) -> None:
    """Print text in lines of the screen's width, all but the first indented; whole where it goes into a file."""
    if console.is_terminal or "COLUMNS" in os.environ:
        wrapper = textwrap.TextWrapper(
            max(console.width, 40), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        text = wrapper.fill(text)
    console.print(text, soft_wrap=True, markup=False)
