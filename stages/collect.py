"""Bring the raw records in: the user's own files where they lie, data sets of the hub, examples in packages."""

from pathlib import Path

from pydantic import Field

from ollamake.base import store
from ollamake.collect import request
from ollamake.collect.content import Brought
from ollamake.files import atomic_folder, write_json
from ollamake.stage import StageParams, run

RAW = Path("data/raw")


class Params(StageParams):
    data_files: str = Field(min_length=1)
    data_source: str = Field(min_length=1)


def main(params: Params) -> None:
    wanted = request.parse(params.data_source, params.data_files)
    with atomic_folder(RAW) as raw:
        brought = [source.content.bring(source.name, raw, store() / "downloads") for source in wanted]
        account = {
            "license": "; ".join(found.license for found in brought if found.license),
            "origin": [origin for found in brought for origin in found.origin],
            "sources": [described(source, found, raw) for source, found in zip(wanted, brought, strict=True)],
        }
        write_json(raw / "source.json", account)


def described(source: request.Wanted, brought: Brought, raw: Path) -> dict[str, object]:
    """Return what prepare has to know of a source; what was written to `raw` is going to lie in RAW."""
    files = [RAW / file.relative_to(raw) if file.is_relative_to(raw) else file for file in brought.files]
    return {"name": source.name, "files": [file.as_posix() for file in files], **source.reading}


if __name__ == "__main__":
    run(Params, main)
