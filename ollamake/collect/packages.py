"""The records that a recipe makes of the packages it pins."""

from dataclasses import dataclass
from pathlib import Path

from ollamake.collect.content import Brought
from ollamake.collect.index import source_archive
from ollamake.collect.pairs import Harvest, harvest
from ollamake.collect.recipe import Recipe
from ollamake.files import write_jsonl


@dataclass(frozen=True)
class Packages:
    """The examples in the packages of a recipe."""

    recipe: Recipe

    def bring(self, name: str, raw: Path, downloads: Path) -> Brought:
        """Write the records to `raw`/`name`.jsonl."""
        archives = {package.requirement: source_archive(package, downloads) for package in self.recipe.packages}
        found = harvest(self.recipe, archives)
        records = raw / f"{name}.jsonl"
        pairs = [{"instruction": pair.wish, "output": pair.command, "source": pair.source} for pair in found.pairs]
        write_jsonl(records, pairs)
        licenses = "; ".join(f"{package.requirement}: {package.license}" for package in self.recipe.packages)
        return Brought([records], licenses, _origin(self.recipe, found))


def _origin(recipe: Recipe, found: Harvest) -> list[dict[str, object]]:
    """Return for each package what it is, and how much of it was left out and why."""
    return [
        {
            **package.model_dump(include={"requirement", "sha256", "license", "format"}),
            "kept": sum(pair.source.startswith(f"{package.requirement}/") for pair in found.pairs),
            "dropped": dict(sorted(found.dropped[package.requirement].items())),
        }
        for package in recipe.packages
    ]
