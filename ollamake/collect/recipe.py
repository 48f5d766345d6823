"""A recipe: the pinned packages whose examples make a data set, and the judgements that no rule can make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic import Field as Constrained
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.errors import DataError

Requirement = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = tuple[str, ...]


class Part(BaseModel):
    """A part of a recipe: every key known, none coerced but a YAML list to a tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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

    packages: Annotated[tuple[Package, ...], Constrained(min_length=1)]
    commands: Words = ()  # names of commands that have no sheet of their own
    telling: Mapping[str, Words] = {}  # words of a sentence that tell which command is meant
    drop: Mapping[str, Words] = {}  # openings of sentences that read badly, by sheet


def read(path: Path) -> Recipe:
    """Return the recipe in `path`. Raises DataError that names every wrong key."""
    try:
        return Recipe.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(path), hint="data_source in params.yaml names the recipe"
        ) from error
    except YAMLError as error:
        raise DataError(f"is not valid YAML: {error}", where=str(path)) from error
    except ValidationError as error:
        found = [f"{'.'.join(map(str, detail['loc'])) or 'recipe'}: {detail['msg']}" for detail in error.errors()]
        raise DataError(
            "\n  ".join(["is not a recipe", *found]),
            where=str(path),
            hint="data/sources/command-line.yaml shows what a recipe holds",
        ) from error
