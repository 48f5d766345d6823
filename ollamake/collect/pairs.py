"""Pairs of a wish and a command from the sheets of a recipe's packages."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ollamake.collect.commands import one_command, programs
from ollamake.collect.recipe import Package, Recipe, Words
from ollamake.collect.sheets import Example, Unusable, examples
from ollamake.collect.wishes import wish


@dataclass(frozen=True)
class Pair:
    """A wish, the command that fulfils it, the program's name, and the sheet it stands in."""

    wish: str
    command: str
    tool: str
    source: str


@dataclass
class Harvest:
    """The pairs of all packages, and for each package how many examples were dropped for which reason."""

    pairs: list[Pair] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)


def harvest(recipe: Recipe, archives: Mapping[str, Path]) -> Harvest:
    """Return the pairs of every package, in the order of the recipe; `archives` maps a requirement to its file."""
    found = Harvest()
    read = {package: list(examples(archives[package.requirement], package)) for package in recipe.packages}
    known = {example.sheet for sheets in read.values() for example in sheets} | {*recipe.commands}
    for package, sheets in read.items():
        dropped = found.dropped.setdefault(package.requirement, Counter())
        for example in sheets:
            try:
                found.pairs.append(_pair(example, package, recipe, known))
            except Unusable as reason:
                dropped[str(reason)] += 1
    found.pairs = list(_once(_named(found.pairs, recipe.telling), found.dropped))
    return found


def _pair(example: Example, package: Package, recipe: Recipe, known: set[str]) -> Pair:
    command = one_command(example.lines, example.sheet, known)
    text = wish(example.sentences)
    if text.startswith(recipe.drop.get(example.sheet, ())):
        raise Unusable("judged by eye")
    run = programs(command)
    tool = example.sheet if example.sheet in run else run[0]
    return Pair(text, command, tool, f"{package.requirement}/{example.sheet}")


def _named(pairs: list[Pair], telling: Mapping[str, Words]) -> Iterator[Pair]:
    """Put the program's name before a wish that does not tell which program is meant, as a person would."""
    tools: dict[str, set[str]] = {}
    for pair in pairs:
        tools.setdefault(pair.wish.casefold(), set()).add(pair.tool)
    for pair in pairs:
        shared = len(tools[pair.wish.casefold()]) > 1
        if shared or not _tells(pair, telling.get(pair.tool, ())):
            first, _, rest = pair.wish.partition(" ")
            text = f"With {pair.tool}, {first if first.isupper() else first.lower()} {rest}"
            yield replace(pair, wish=text)
        else:
            yield pair


def _tells(pair: Pair, telling: Words) -> bool:
    words = [rf"{re.escape(pair.tool)}\b", *map(re.escape, telling)]
    return re.search(rf"\b(?:{'|'.join(words)})", pair.wish, re.IGNORECASE) is not None


def _once(pairs: Iterable[Pair], dropped: dict[str, Counter[str]]) -> Iterator[Pair]:
    """Let the first of several pairs with the same wish pass."""
    asked: set[str] = set()
    for pair in pairs:
        if pair.wish.casefold() in asked:
            dropped[pair.source.partition("/")[0]]["asked before"] += 1
        else:
            asked.add(pair.wish.casefold())
            yield pair
