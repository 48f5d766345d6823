"""In which order the training rows stand: as they come, or by a number that each row has (curriculum)."""

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ollamake.data.columns import view
from ollamake.data.duplicates import Hashes, Rows
from ollamake.data.fields import number_in, own_id
from ollamake.data.findings import Place, Rejected
from ollamake.data.formats.reading import chunks
from ollamake.data.formats.rows import Chunk, Row
from ollamake.data.gathering import Gathered
from ollamake.data.records import identity
from ollamake.errors import DataError
from ollamake.parallel import in_order

if TYPE_CHECKING:
    Pairs = tuple["array[int]", "array[float]"]

AS_THEY_COME = ("random", "grouped", "given")
MISSING_SHOWN = 5


def train_order(rows: Rows, gathered: Gathered, identities: Hashes, order: str) -> Rows:
    """Return the training rows in the order to write them in. Raises DataError when a row has no loss to be sorted by.

    `identities` are those of the ids that all rows end up with.
    """
    if order in AS_THEY_COME:
        return rows
    numbers = view(gathered.columns.order)
    if order == "loss":
        numbers = np.full(len(identities), np.nan)
        for source, taken in gathered.slices():
            if source.losses:
                numbers[taken] = Losses.read(Path(source.losses)).of(identities[taken])
        _require_all(rows, numbers, gathered)
    return rows[numbers[rows].argsort(kind="stable")]


@dataclass(frozen=True)
class Losses:
    """The loss of some rows, by the identity of their ids, which are ascending."""

    identities: Hashes
    values: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "Losses":
        """Read a file of rows {"id", "loss"}. Raises DataError for a row that is none."""
        identities, values = array("Q"), array("d")
        for some_identities, some_values in in_order(LossReader(str(path)), chunks(path)):
            identities.extend(some_identities)
            values.extend(some_values)
        by_identity = view(identities).argsort(kind="stable")
        return cls(view(identities)[by_identity], view(values)[by_identity])

    def of(self, identities: Hashes) -> NDArray[np.float64]:
        """Return the loss of each row, NaN where there is none."""
        if not len(self.identities):
            return np.full(len(identities), np.nan)
        at = self.identities.searchsorted(identities).clip(max=len(self.identities) - 1)
        return np.where(self.identities[at] == identities, self.values[at], np.nan)


@dataclass(frozen=True)
class LossReader:
    """Reads the rows of one chunk of a file of losses."""

    file: str

    def __call__(self, chunk: Chunk) -> "Pairs":
        """Return the identities and the losses. Raises DataError."""
        identities, values = array("Q"), array("d")
        for number, row in chunk.rows():
            try:
                name, loss = _named_loss(row)
                identities.append(int.from_bytes(identity(name), "big"))
                values.append(loss)
            except Rejected as verdict:
                raise DataError(
                    f"{verdict.reason}{f' ({verdict.detail})' if verdict.detail else ''}",
                    where=str(Place(self.file, chunk.unit, number)),
                    hint='a file of losses holds one {"id": "...", "loss": 1.5} for each training row',
                ) from None
        return identities, values


def _named_loss(row: Row | Rejected) -> tuple[str, float]:
    if isinstance(row, Rejected):
        raise row
    name = own_id(row)
    if not name:
        raise Rejected("id is missing, or none that a row can have")
    return name, number_in(row, "loss")


def _require_all(rows: Rows, losses: NDArray[np.float64], gathered: Gathered) -> None:
    missing = rows[np.isnan(losses[rows])]
    if len(missing):
        shown = "; ".join(str(gathered.place(row)) for row in missing[:MISSING_SHOWN].tolist())
        more = f" and {len(missing) - MISSING_SHOWN} more" if len(missing) > MISSING_SHOWN else ""
        raise DataError(
            f"train_order is loss, and {len(missing)} of {len(rows)} training rows have none: {shown}{more}",
            hint='name a file of {"id", "loss"} rows as `losses` of each source in sources.yaml; the ids are those '
            "of the rows, or for rows without one those in data/prepared/train.jsonl. Or set train_order: random",
        )
