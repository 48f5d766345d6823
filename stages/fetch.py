"""Resolve the base model to one clean Hugging Face folder in the store, and pin it in models/base.json."""

from typing import Annotated

from pydantic import Field

from ollamake.base import RECORD, open_base, store
from ollamake.files import write_json
from ollamake.resolve.catalog import read_catalog
from ollamake.resolve.request import parse
from ollamake.resolve.shelf import fetch
from ollamake.resolve.template import named_template
from ollamake.stage import StageParams, run


class Params(StageParams):
    base_model: Annotated[str, Field(min_length=1)]
    base_model_revision: Annotated[str, Field(min_length=1)]
    chat_template: Annotated[str, Field(min_length=1)]


def main(params: Params) -> None:
    template = named_template(params.chat_template)
    source = parse(
        params.base_model, params.base_model_revision, read_catalog(), store().parent, needs_template=template is None
    )
    record = fetch(source, store(), template)
    write_json(RECORD, record)
    base = open_base()
    print(
        f"{record['name']}: {record['architecture']}, licence {record['license']}, "
        f"from the {record['source']['kind']}, {base.weights_bytes / 1e6:,.0f} MB in {base.folder}"
    )


if __name__ == "__main__":
    run(Params, main)
