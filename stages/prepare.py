"""Check every record, drop duplicates, and deal the conversations into splits by their content."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from ollamake.files import atomic_folder, write_json
from ollamake.stage import StageParams, run

RAW, PREPARED, METRICS = Path("data/raw"), Path("data/prepared"), Path("metrics/prepare.json")
Share = Annotated[float, Field(gt=0, lt=1)]


class Params(StageParams):
    max_examples: NonNegativeInt
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=1)]
    probe_fraction: Share
    row_shape: Literal["auto", "instruction", "prompt", "messages", "conversations", "text", "preference", "thumbs"]
    split_seed: int
    test_fraction: Share
    train_order: Annotated[str, Field(pattern=r"^(random|grouped|given|length|loss|field:.+)$")]
    val_fraction: Share

    @model_validator(mode="after")
    def _leave_some_to_train_on(self) -> "Params":
        held_out = self.val_fraction + self.test_fraction + self.probe_fraction
        if held_out >= 1:
            raise ValueError(
                f"val_fraction + test_fraction + probe_fraction is {held_out:g}, nothing is left to train on"
            )
        return self


def main(params: Params) -> None:
    # numpy loads here.
    from ollamake.data.dealing import Rules
    from ollamake.data.report import report
    from ollamake.data.sorting import sort_rows
    from ollamake.data.sources import read_sources
    from ollamake.data.split import Fractions

    sources = read_sources(RAW / "source.json", row_shape=params.row_shape, max_examples=params.max_examples)
    fractions = Fractions(probe=params.probe_fraction, test=params.test_fraction, val=params.val_fraction)
    rules = Rules(fractions, params.split_seed, params.near_duplicate_threshold, params.train_order)
    with atomic_folder(PREPARED) as folder:
        tally = sort_rows(sources, rules, folder)
        tally.judge(params.max_rejected_fraction)
        (folder / "report.md").write_text(report(tally), encoding="utf-8", newline="\n")
    write_json(METRICS, tally.metrics())
    for line in filter(None, (f"{tally.where}: {tally}", tally.warning)):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    run(Params, main)
