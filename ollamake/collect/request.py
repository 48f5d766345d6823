"""What `data_source` names: a data file, a folder of them, a mixture (a folder with sources.yaml), or a YAML file.

DVC watches the path in `data_source` and nothing else: the file, or the folder with what lies in it. So the files of a
mixture lie beside its sources.yaml; were they elsewhere, a change there would leave yesterday's model standing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ollamake.collect import mixture, recipe
from ollamake.collect.content import Content, LocalFiles
from ollamake.collect.grammar import load
from ollamake.collect.hub import ALL
from ollamake.collect.inside import path_inside
from ollamake.collect.location import refuse_replaced, require_there
from ollamake.collect.mixture import HubSource, Source, name_of
from ollamake.collect.packages import Packages
from ollamake.data.formats.listing import list_files
from ollamake.errors import DataError

MIXTURE = "sources.yaml"
YAML_SUFFIXES = {".yaml", ".yml"}
BOTH_FORMS = """a recipe begins with `packages:` (see data/sources/command-line.yaml), a list of hub data sets is
    sources:
      - hub: org/name
        revision: 0123…  # its commit, 40 digits"""


@dataclass(frozen=True)
class Wanted:
    """A source by its name, with what it holds and how its rows are read and counted."""

    name: str
    content: Content
    shape: str = "auto"
    task: str = ""
    weight: float = 1.0
    max_examples: int = 0
    losses: str = ""

    @property
    def reading(self) -> dict[str, object]:
        """How the rows are read and counted, as data/raw/source.json says it."""
        return {key: value for key, value in vars(self).items() if key not in ("name", "content")}

    @property
    def own_files(self) -> tuple[Path, ...]:
        """Those files that are the user's own."""
        return self.content.files if isinstance(self.content, LocalFiles) else ()


def parse(data_source: str, data_files: str) -> list[Wanted]:
    """Return the sources that the two parameters name: found, and looked at from outside. Works offline.

    Raises DataError for whatever can be found wrong without reading the data.
    """
    path = Path(data_source)
    require_there(data_source)
    refuse_replaced(data_source)
    if path.is_dir() and not _is_mixture(path):
        return [Wanted(name_of(path.as_posix()), LocalFiles.checked(list_files(path, data_files)))]
    if data_files != ALL:
        kind = f"a mixture, whose {MIXTURE} says which files" if path.is_dir() else "one file"
        raise DataError(
            f"is {data_files}, but data_source ({data_source}) names {kind}",
            where="params.yaml, data_files",
            hint=f"set data_files to {ALL}, or data_source to a folder of data files",
        )
    if path.is_dir():
        return _mixture(path)
    if path.suffix in YAML_SUFFIXES:
        return _yaml(path)
    return [Wanted(name_of(path.name), LocalFiles.checked(list_files(path)))]


def _is_mixture(folder: Path) -> bool:
    if (folder / "sources.yml").exists():
        raise DataError(
            f"holds sources.yml; only {MIXTURE} is read", where=str(folder), hint="`mv` it to that name, or away"
        )
    return (folder / MIXTURE).exists()


def _mixture(folder: Path) -> list[Wanted]:
    """Return the sources of a mixture; everything that is wrong with them is told at once."""
    wanted: list[Wanted] = []
    wrong: list[DataError] = []
    for source in mixture.parse(load(folder / MIXTURE), folder / MIXTURE).sources:
        try:
            wanted.append(_wanted(source, folder))
        except DataError as error:
            wrong.append(error)
    if len(wrong) > 1:
        lines = [f"{error.where}: {error.problem}" for error in wrong]
        raise DataError(
            "\n  ".join([f"{len(wrong)} problems", *lines]), where=str(folder / MIXTURE), hint=wrong[0].hint
        )
    if wrong:
        raise wrong[0]
    _refuse_shared(wanted, folder)
    return wanted


def _wanted(source: Source, folder: Path) -> Wanted:
    losses = path_inside(folder, source.losses).as_posix() if source.losses else ""
    return Wanted(
        source.called, source.content(folder), source.shape, source.task, source.weight, source.max_examples, losses
    )


def _refuse_shared(wanted: list[Wanted], folder: Path) -> None:
    """Raise DataError when a file would be read twice: its rows would count as duplicates, or as losses."""
    users = {Path(source.losses): f"the losses of {source.name}" for source in wanted if source.losses}
    for source in wanted:
        for file in source.own_files:
            if file in users:
                raise DataError(
                    f"{file} belongs to {source.name} and to {users[file]}",
                    where=str(folder / MIXTURE),
                    hint="write patterns in `files:` that have no file in common, or move files into subfolders",
                )
            users[file] = source.name


def _yaml(path: Path) -> list[Wanted]:
    content = load(path)
    keys = set(content) & {"packages", "sources"} if isinstance(content, Mapping) else set()
    if keys == {"packages"}:
        return [Wanted(name_of(path.name), Packages(recipe.parse(content, path)))]
    if keys != {"sources"}:
        raise DataError("is neither a recipe nor a list of sources", where=str(path), hint=BOTH_FORMS)
    listed = mixture.parse(content, path).sources
    if any(not isinstance(source, HubSource) or source.losses for source in listed):
        folder = (
            f"{path.parent} itself" if path.name == MIXTURE else f"a folder of them and this list, called {MIXTURE},"
        )
        raise DataError(
            "names files of yours, and DVC, which watches only this one file, would not notice a change in them",
            where=str(path),
            hint=f"name {folder} in data_source",
        )
    return [_wanted(source, path.parent) for source in listed]
