"""Single rows of data/tokenized, read from the memory-mapped file: its size does not matter."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ollamake.errors import OllamakeError
from ollamake.labels import IGNORE_INDEX

if TYPE_CHECKING:
    import pyarrow as pa

TOKENIZED = Path("data/tokenized")
COLUMNS = ("id", "task", "input_ids", "labels", "prompt_length", "rejected_ids", "desirable")


@dataclass(frozen=True)
class Row:
    """One row of a split; `number` counts from 1, `of` is the number of all. `task` is empty where there is none.

    Of judged answers `rejected_ids` are the tokens of the worse one, or `desirable` tells whether the thumb is up.
    """

    split: str
    number: int
    of: int
    id: str
    task: str
    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    rejected_ids: list[int] | None = None
    desirable: bool | None = None

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORE_INDEX for label in self.labels)


class ArrowFile:
    """An Arrow IPC file of data/tokenized. Raises OllamakeError when it is not there, or is none."""

    def __init__(self, name: str) -> None:
        import pyarrow as pa

        self.path = TOKENIZED / f"{name}.arrow"
        try:
            self.reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
        except FileNotFoundError as error:
            raise OllamakeError(
                "nothing is tokenized yet", where=str(self.path), hint="`dvc repro tokenize`"
            ) from error
        except (OSError, pa.ArrowInvalid) as error:
            raise OllamakeError(
                f"cannot be read: {error}", where=str(self.path), hint="`dvc repro --force --single-item tokenize`"
            ) from error
        wanted = ("rows",) if name == "packs" else COLUMNS
        if missing := [column for column in wanted if column not in self.reader.schema.names]:
            raise OllamakeError(
                f"is of another version: it has no {', '.join(missing)}",
                where=str(self.path),
                hint="`dvc repro tokenize`",
            )

    @cached_property
    def rows(self) -> int:
        """The number of rows, without reading them."""
        count: int = self.reader.count_rows()
        return count

    def row(self, number: int) -> "pa.RecordBatch":
        """Return the row `number`, counted from 1, as a batch of one. Raises OllamakeError when there is none."""
        left = number - 1
        for index in range(self.reader.num_record_batches):
            batch = self.reader.get_batch(index)
            if 0 <= left < batch.num_rows:
                return batch.slice(left, 1)
            left -= batch.num_rows
        raise OllamakeError(
            f"there is no row {number}, it has {self.rows} row{'' if self.rows == 1 else 's'}",
            where=str(self.path),
            hint=f"take one from 1 to {self.rows}",
        )

    def number_of(self, id_: str) -> int:
        """Return the number of the first row with this id. Raises OllamakeError when none has it."""
        import pyarrow.compute as pc

        before = 0
        for index in range(self.reader.num_record_batches):
            batch = self.reader.get_batch(index)
            found: int = pc.index(batch.column("id"), id_).as_py()
            if found >= 0:
                return before + found + 1
            before += batch.num_rows
        raise OllamakeError(
            f"no row has the id {id_!r}",
            where=str(self.path),
            hint=f"`grep -l {id_!r} data/prepared/*.jsonl` names the split of a row; tokenize may have dropped it",
        )


def row(split: str, number: int) -> Row:
    """Return one row of a split. Raises OllamakeError when there is none."""
    return _row(ArrowFile(split), split, number)


def row_of(split: str, id_: str) -> Row:
    """Return the first row of a split with this id. Raises OllamakeError when there is none."""
    file = ArrowFile(split)
    return _row(file, split, file.number_of(id_))


def packed(number: int) -> tuple[list[Row], int]:
    """Return the conversations of the packed training row `number`, counted from 1, and how many packed rows there are.

    Raises OllamakeError when there is no such row.
    """
    packs = ArrowFile("packs")
    if not packs.rows:
        raise OllamakeError(
            "packing is off: every conversation is a row of its own",
            where=str(packs.path),
            hint="`packing: true` in params.yaml and `dvc repro tokenize`; `--row` shows single conversations",
        )
    members = packs.row(number).column("rows")[0].as_py()
    file = ArrowFile("train")
    return [_row(file, "train", index + 1) for index in members], packs.rows


def _row(file: ArrowFile, split: str, number: int) -> Row:
    (values,) = file.row(number).select(COLUMNS).to_pylist()
    return Row(split, number, file.rows, **values)
