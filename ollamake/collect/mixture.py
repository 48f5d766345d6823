"""sources.yaml: what a mixture is made of, and how each part of it counts."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ollamake.collect import recipe
from ollamake.collect.content import Content, LocalFiles
from ollamake.collect.grammar import Part, not_empty, validate
from ollamake.collect.hub import ALL, HubData
from ollamake.collect.inside import files_inside, path_inside
from ollamake.collect.packages import Packages

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
LONGEST_NAME = 40
NAME = re.compile(rf"\w[\w-]{{0,{LONGEST_NAME - 1}}}")
Text = Annotated[str, StringConstraints(min_length=1)]

HOW_TO_WRITE = """a source is one of
    sources:
      - files: chats.jsonl      # a file, folder or pattern beside sources.yaml
      - hub: org/name           # a data set of the Hugging Face hub
        revision: 0123…         # its commit, 40 digits
      - recipe: recipe.yaml     # a recipe beside sources.yaml
  each with name, shape, task, weight, max_examples and losses where you like"""


class Source(Part):
    """How the rows of a source are read and counted; `losses` names a file of rows {"id", "loss"} in the folder."""

    name: str = ""
    shape: Literal["auto", "instruction", "prompt", "messages", "conversations", "text", "preference", "thumbs"] = (
        "auto"
    )
    task: str = ""
    weight: Annotated[float, Field(ge=0, le=100, strict=True, allow_inf_nan=False)] = 1.0
    max_examples: Annotated[int, Field(ge=0, strict=True)] = 0
    losses: str = ""

    @field_validator("name")
    @classmethod
    def _usable_as_a_file_name(cls, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(f"takes up to {LONGEST_NAME} letters, digits, - and _, but it is {name!r:.80}")
        return name

    @property
    def called(self) -> str:
        """The name of the source: the one given, or one made of what it reads."""
        return self.name or name_of(self._place)

    @property
    def _place(self) -> str:
        """The path or repository that the source names."""
        raise NotImplementedError

    def content(self, folder: Path) -> Content:
        """Return what the source holds, its paths being in `folder`. Raises DataError when something is not there."""
        raise NotImplementedError


class FilesSource(Source):
    """Files of the user's own, in the folder of the mixture."""

    files: Text

    @property
    def _place(self) -> str:
        return self.files

    def content(self, folder: Path) -> Content:
        """Return the files, each of which is there."""
        return LocalFiles.checked(files_inside(folder, self.files))


class HubSource(Source):
    """A data set on the Hugging Face hub at one commit; `files` is a pattern of paths in the repository."""

    hub: str
    revision: str = Field(default="", validate_default=True)
    files: Text = ALL

    @field_validator("hub")
    @classmethod
    def _repository(cls, hub: str) -> str:
        if not HUB_ID.fullmatch(hub) or ".." in hub or "--" in hub:
            raise ValueError(f"takes the id of a data set, org/name, but it is {hub!r:.80}")
        return hub

    @field_validator("revision")
    @classmethod
    def _commit(cls, revision: str, info: ValidationInfo) -> str:
        if not COMMIT.fullmatch(revision):
            what = f"{revision!r:.80} may move" if revision else "is missing"
            address = f"https://huggingface.co/datasets/{info.data.get('hub', 'org/name')}"
            raise ValueError(
                f"{what}; write the commit, all 40 digits: `git ls-remote {address} {revision or 'main':.80}` prints it"
            )
        return revision

    @property
    def _place(self) -> str:
        return self.hub

    def content(self, folder: Path) -> Content:  # noqa: ARG002
        """Return the data set, which nothing has been asked about yet."""
        return HubData(self.hub, self.revision, self.files)


class RecipeSource(Source):
    """What the packages that a recipe names hold."""

    recipe: Text

    @property
    def _place(self) -> str:
        return self.recipe

    def content(self, folder: Path) -> Content:
        """Return the packages of the recipe, which has been read."""
        return Packages(recipe.read(path_inside(folder, self.recipe)))


def _kind(source: Any) -> str:
    kinds = [kind for kind in ("hub", "recipe") if isinstance(source, dict) and kind in source]
    return f"<{kinds[0]}>" if kinds else "<files>"


class Mixture(Part):
    """The sources, in the order in which their rows are read."""

    sources: Annotated[
        tuple[
            Annotated[
                Annotated[FilesSource, Tag("<files>")]
                | Annotated[HubSource, Tag("<hub>")]
                | Annotated[RecipeSource, Tag("<recipe>")],
                Discriminator(_kind),
            ],
            ...,
        ],
        AfterValidator(not_empty),
    ]

    @model_validator(mode="after")
    def _told_apart_and_trained_on(self) -> "Mixture":
        # Names become files, and some file systems take Chats and chats for the same.
        names = Counter(source.called.casefold() for source in self.sources)
        if twice := [source.called for source in self.sources if names[source.called.casefold()] > 1]:
            raise ValueError(f"sources: several are called {twice[0]}; give each a name of its own")
        if not any(source.weight for source in self.sources):
            raise ValueError("sources: every weight is 0, so nothing would be trained on")
        return self


def parse(content: Any, path: Path) -> Mixture:
    """Return the content of `path` as a mixture. Raises DataError that names every wrong key."""
    kinds = (FilesSource, HubSource, RecipeSource)
    keys = {"sources", *(key for kind in kinds for key in kind.model_fields)}
    return validate(Mixture, content, keys, where=path, noun="a list of sources", hint=HOW_TO_WRITE)


def name_of(place: str) -> str:
    """Return a name made of a path, pattern or hub id: data/chats-*.jsonl.gz is chats, org/name is name."""
    words = [re.sub(r"\W+", "-", part.partition(".")[0]).strip("-_") for part in place.split("/")]
    return next((word[:LONGEST_NAME] for word in reversed(words) if word), "data")
