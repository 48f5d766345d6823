"""A recipe: the pinned packages whose examples make a data set, and the judgements that no rule can make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints

from ollamake.collect.grammar import Part, load, not_empty, validate

Requirement = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = tuple[str, ...]


class Package(Part):
    """A source distribution on the package index, pinned by version and hash, that holds command-line examples."""

    requirement: Requirement
    sha256: Sha256
    license: Annotated[str, StringConstraints(min_length=1)]
    format: Literal["eg", "cheat"]
    skip: Words = ()  # sheets that hold no shell commands

    @property
    def name(self) -> str:
        """The package's name without its version."""
        return self.requirement.partition("==")[0]


class Recipe(Part):
    """What to read from which packages."""

    packages: Annotated[tuple[Package, ...], AfterValidator(not_empty)]
    commands: Words = ()  # names of commands that have no sheet of their own
    telling: Mapping[str, Words] = {}  # words of a sentence that tell which command is meant
    drop: Mapping[str, Words] = {}  # openings of sentences that read badly, by sheet


def read(path: Path) -> Recipe:
    """Return the recipe in `path`. Raises DataError that names every wrong key."""
    return parse(load(path), path)


def parse(content: Any, path: Path) -> Recipe:
    """Return the content of `path` as a recipe. Raises DataError that names every wrong key."""
    keys = {*Recipe.model_fields, *Package.model_fields}
    hint = "data/sources/command-line.yaml shows what a recipe holds"
    return validate(Recipe, content, keys, where=path, noun="a recipe", hint=hint)
