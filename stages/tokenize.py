"""Render the conversations with the base model's chat template, tokenize them, mask what carries no loss, pack them."""

from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ollamake.base import RECORD, Base, open_base
from ollamake.files import atomic_folder, atomic_write, write_json
from ollamake.parallel import in_order
from ollamake.stage import StageParams, run
from ollamake.tokens.judge import refuse_length, refuse_split
from ollamake.tokens.tally import Tally
from ollamake.tokens.tasks import JUDGED, Task

PREPARED, DISTILLED, TOKENIZED = Path("data/prepared"), Path("data/distilled"), Path("data/tokenized")
METRICS, LENGTHS = Path("metrics/tokenize.json"), Path("plots/tokenize/lengths.csv")
# The test set keeps its own answers, whoever taught: they are what is scored against.
SPLITS = {"train": DISTILLED / "train.jsonl", "val": DISTILLED / "val.jsonl", "test": PREPARED / "test.jsonl"}


class Params(StageParams):
    max_length: Annotated[int, Field(ge=2)]
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    packing: bool
    system_prompt: str
    task: Task
    too_long: Literal["drop", "truncate_left", "truncate_right"]

    @model_validator(mode="after")
    def _judged_answers_stand_alone(self) -> "Params":
        if self.packing and self.task in JUDGED:
            raise ValueError(f"packing is true, and task {self.task} compares whole answers; set packing: false")
        return self


def main(params: Params) -> None:
    from ollamake.tokens import tables

    base = open_base(RECORD)
    refuse_length(params.max_length, base)
    with atomic_folder(TOKENIZED) as folder:
        tallies = write_splits(params, base, folder)
        for name, tally in tallies.items():
            print(tally.line(name))
            refuse_split(name, tally, SPLITS[name], params.max_rejected_fraction)
        packs = tables.write_packs(folder, params.max_length if params.packing else 0)
    metrics = {name: tally.metrics() for name, tally in tallies.items()}
    if packs:
        fill = metrics["train"]["tokens"] / (packs * params.max_length)
        metrics["train"]["packs"] = {"rows": packs, "fill": round(fill, 4)}
    write_json(METRICS, metrics)
    with atomic_write(LENGTHS) as partial:
        bins = tallies["train"].length_histogram(params.max_length)
        partial.write_text("tokens,conversations\n" + "".join(f"{start},{count}\n" for start, count in bins))


def write_splits(params: Params, base: Base, folder: Path) -> dict[str, Tally]:
    """Tokenize every split to an Arrow file in `folder`; return what became of its records."""
    from ollamake.tokens import tables
    from ollamake.tokens.blocks import Tokenize, blocks

    work = Tokenize(base, params.system_prompt, params.max_length, params.too_long, params.task)
    pieces = (block for name, path in SPLITS.items() for block in blocks(name, path))
    tallies = {name: Tally() for name in SPLITS}
    # One stream for all splits, so that the workers start once.
    for name, batches in groupby(in_order(work, pieces), key=lambda batch: batch.split):
        with tables.writer(folder / f"{name}.arrow", tables.SCHEMA) as arrow:
            for batch in batches:
                arrow.write_batch(batch.rows)
                tallies[name].merge(batch.tally)
    return tallies


if __name__ == "__main__":
    run(Params, main)
