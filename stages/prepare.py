"""Check every record, drop duplicates, and deal the conversations into splits by their content."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from ollamake.data.rows import rows
from ollamake.data.sorting import SPLITS, Tally, sort_rows
from ollamake.data.split import Fractions
from ollamake.errors import DataError
from ollamake.files import atomic_folder, read_json, write_json
from ollamake.stage import StageParams, run

RAW, PREPARED, METRICS = Path("data/raw"), Path("data/prepared"), Path("metrics/prepare.json")
Share = Annotated[float, Field(gt=0, lt=1)]


class Params(StageParams):
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    probe_fraction: Share
    split_seed: int
    test_fraction: Share
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
    source = Path(read_json(RAW / "source.json")["path"])
    fractions = Fractions(probe=params.probe_fraction, test=params.test_fraction, val=params.val_fraction)
    with atomic_folder(PREPARED) as folder:
        with ExitStack() as files:
            splits = {
                name: files.enter_context((folder / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n"))
                for name in SPLITS
            }
            tally = sort_rows(rows(source), splits, fractions, params.split_seed)
        judge(tally, params.max_rejected_fraction, source)
    write_json(METRICS, tally.metrics())
    print(f"{source}: {tally}", file=sys.stderr)


def judge(tally: Tally, max_rejected_fraction: float, source: Path) -> None:
    """Raise one DataError when too few rows are usable, or when a split that later stages need is empty."""
    empty = [name for name in SPLITS if not tally.kept[name]]
    if not tally.rows:
        problem, hint = "holds no rows, only blank lines", "write one JSON object a line"
    elif not tally.usable or tally.rejected_fraction > max_rejected_fraction:
        limit = f"{tally.rejected_fraction:.1%}, and max_rejected_fraction is {max_rejected_fraction:.1%}"
        problem = f"{tally.rejected} of {tally.rows} rows cannot be used ({limit})"
        hint = (
            'correct these lines, or raise max_rejected_fraction; a row is {"instruction", "output"}, {"instruction", '
            '"response"}, {"prompt", "completion"} or {"messages": [{"role", "content"}, …]}'
        )
    elif empty:
        distinct = sum(tally.kept.values())
        problem = f"too few rows: {distinct} different of {tally.rows} leave nothing for {' and '.join(empty)}"
        hint = "add rows, a few hundred at least; or raise the fractions of the empty splits in params.yaml"
    else:
        return
    raise DataError("\n  ".join([problem, *tally.findings.summary()]), where=str(source), hint=hint)


if __name__ == "__main__":
    run(Params, main)
