"""Which base models fit what a person asks for, in the order in which to try them, with the reasons."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ollamake.catalog.cards import Format, Model, Task
from ollamake.catalog.memory import METHODS, Fit, best_fit, fit
from ollamake.plan.machine import Machine

LicenceWish = Literal["any", "commercial", "permissive"]
# What the default build trains in minutes on two cores; a step of a larger model takes longer in proportion.
DEFAULT_PARAMETERS, SLOW_PARAMETERS = 134_515_008, 2_000_000_000
# Where nothing else is asked for: every weight at once needs four times the memory, and learns its examples by heart.
USUAL_METHODS = ("lora", "qlora")


@dataclass(frozen=True)
class Wish:
    """What a base model has to be; `context` in tokens. None and 0 ask for nothing."""

    task: Task | None = None
    licence: LicenceWish = "any"
    language: str | None = None
    context: int = 0
    format: Format | None = None
    method: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A base model held against a wish: how to train and score it, and what speaks for it and against it."""

    model: Model
    fit: Fit
    reasons: tuple[str, ...]
    objections: tuple[str, ...]


def choose(models: list[Model], wish: Wish, machine: Machine, content: Mapping[str, Any]) -> list[Candidate]:
    """Return all models as candidates, those without objections first and the best first among them.

    On a CPU models that take hours come after the others. Else the more parameters the better, of two like ones the
    one that anybody may download.
    """
    candidates = [weigh(model, wish, machine, content) for model in models]

    def place(candidate: Candidate) -> tuple[bool, bool, int, bool]:
        size = candidate.model.entry.parameters
        slow = not machine.gpu and size > SLOW_PARAMETERS
        return bool(candidate.objections), slow, -size, candidate.model.entry.gated

    return sorted(candidates, key=place)


def weigh(model: Model, wish: Wish, machine: Machine, content: Mapping[str, Any]) -> Candidate:
    """Hold a model against a wish and a machine."""
    methods = (wish.method,) if wish.method in METHODS else USUAL_METHODS
    found = best_fit(model, content, machine, methods) or fit(model, methods[-1], content, machine)
    said = [*_asked(model, wish), *_room(model, found, machine)]
    return Candidate(
        model=model,
        fit=found,
        reasons=tuple(text for holds, text in said if holds),
        objections=tuple(text for holds, text in said if not holds),
    )


def _asked(model: Model, wish: Wish) -> Iterator[tuple[bool, str]]:
    """Yield whether the model is what was asked for, point by point, and the point in words."""
    licence = model.licence
    if wish.task:
        made = ", ".join(model.tasks)
        yield wish.task in model.tasks, f"made for {wish.task}" if wish.task in model.tasks else f"made for {made}"
    if wish.licence != "any":
        allowed = licence.permissive if wish.licence == "permissive" else licence.commercial
        yield allowed, f"licence {model.entry.license}" + ("" if allowed else f" is not {wish.licence}")
    if wish.language:
        speaks = wish.language in model.family.languages
        named = ", ".join(model.family.languages)
        yield speaks, f"{wish.language} is one of its languages" if speaks else f"its languages are {named}"
    if wish.context:
        yield model.entry.context_length >= wish.context, f"a context of {model.entry.context_length:,} tokens"
    if wish.format:
        comes = wish.format in model.formats
        yield comes, f"comes as {wish.format}" if comes else f"comes as {' or '.join(model.formats)}"


def _room(model: Model, found: Fit, machine: Machine) -> Iterator[tuple[bool, str]]:
    """Yield whether the machine has the memory, and whether the model can be served."""
    has = machine.memory_bytes
    most = "" if found.stage == "train" else f", {found.stage} {found.need_bytes / 1e9:.1f},"
    trained = f"{found.method} takes {found.needs['train'] / 1e9:.1f}{most} of {has / 1e9:.0f} GB"
    yield found.need_bytes <= has, trained
    if not model.served:
        yield False, "no template for Ollama here writes its prompts yet"
    if not machine.gpu and model.entry.parameters > DEFAULT_PARAMETERS:
        factor = model.entry.parameters / DEFAULT_PARAMETERS
        yield True, f"on a CPU a step takes some {factor:.0f} × as long as one of smollm2:135m"
    if model.entry.gated:
        yield True, "its licence has to be accepted on the hub first"
