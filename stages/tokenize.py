"""Render the conversations with the base model's chat template, tokenize them, mask what carries no loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.chat import ChatTemplate
from ollamake.errors import DataError, ParamsError
from ollamake.files import atomic_write, read_jsonl, write_json
from ollamake.stage import StageParams, run

if TYPE_CHECKING:
    from ollamake.tokens.tables import Split

PREPARED, TOKENIZED = Path("data/prepared"), Path("data/tokenized")
METRICS, LENGTHS = Path("metrics/tokenize.json"), Path("plots/tokenize/lengths.csv")
SPLITS = ("train", "val", "test")


class Params(StageParams):
    max_length: PositiveInt
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    system_prompt: str


def main(params: Params) -> None:
    from tokenizers import Tokenizer

    from ollamake.tokens import tables
    from ollamake.tokens.encode import Encoder

    base = open_base(RECORD)
    if params.max_length > base.context_length:
        raise ParamsError(
            f"max_length is {params.max_length}, but {base.record['name']} reads {base.context_length} tokens at most",
            where="params.yaml",
            hint=f"`dvc exp run -S max_length={base.context_length}`, or a base model with a longer context",
        )
    encoder = Encoder(
        template=ChatTemplate.of(base.folder),
        tokenizer=Tokenizer.from_file(str(base.folder / "tokenizer.json")),
        end_ids=base.end_ids,
        system_prompt=params.system_prompt,
        max_length=params.max_length,
    )
    splits = {name: tables.tokenize(read_jsonl(PREPARED / f"{name}.jsonl"), encoder) for name in SPLITS}
    for name, split in splits.items():
        print(split.line(name))
        refuse_loss(name, split, params.max_rejected_fraction)
    for name, split in splits.items():
        tables.write(TOKENIZED / f"{name}.parquet", split)
    write_json(METRICS, {name: tables.counts(split) for name, split in splits.items()})
    with atomic_write(LENGTHS) as partial:
        bins = tables.length_histogram(splits["train"])
        partial.write_text("tokens,conversations\n" + "".join(f"{start},{count}\n" for start, count in bins))


def refuse_loss(name: str, split: "Split", limit: float) -> None:
    """Raise DataError when the split is empty, or has lost more than `limit` of its conversations."""
    if split.rows and split.dropped_fraction <= limit:
        return
    refused = any("refused by the chat template" in reason for reason in split.dropped)
    advice = "`system_prompt: ''` if the template takes no system message" if refused else "raise max_length"
    raise DataError(
        f"{split.line(name)}; max_rejected_fraction allows {limit:.1%}" if split.dropped else f"{name}: it is empty",
        where=str(PREPARED / f"{name}.jsonl"),
        hint=f"{advice}, or correct the records" if split.dropped else f"raise {name}_fraction, or bring more records",
    )


if __name__ == "__main__":
    run(Params, main)
