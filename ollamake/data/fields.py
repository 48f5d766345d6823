"""What a row says about itself beside its content: id, task, weight, source, and the number to order it by."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ollamake.data.conversations import Repair, text_in
from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import Row
from ollamake.params import SURROGATE

HEAVIEST = 100
LONGEST_ID = 200


def beside(row: Row, fields: Sequence[str], repairs: set[Repair]) -> dict[str, Any]:
    """Return what stands in `fields`, which are some of BESIDE; add to `repairs` what was left out.

    Raises Rejected for a weight that is none: to train on the row as if it had none would be another mixture.
    """
    found: dict[str, Any] = {}
    for field in fields:
        if row[field] is not None and row[field] != "":
            value = READERS[field](row, field)
            if value is None:
                repairs.add(f"an unusable {field} left out")
            else:
                found[field] = value
    return found


def number_in(row: Row, field: str) -> float:
    """Return the finite number in a field; a CSV file holds it as text. Raises Rejected when there is none."""
    value = row.get(field)
    try:
        number = float("nan" if isinstance(value, bool) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Rejected(f"{field} is not a number", f"it is {value!r:.40}")
    return number


def own_id(row: Row, field: str = "id") -> str | None:
    """Return the id that a row has as text, None when it has none that can be written."""
    value = row.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**LONGEST_ID else None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ID:
        return None
    return None if "\0" in value or SURROGATE.search(value) else value


def _text(row: Row, field: str) -> str | None:
    return text_in(row, field) if isinstance(row[field], str) else None


def _weight(row: Row, field: str) -> float:
    weight = number_in(row, field)
    if not 0 <= weight <= HEAVIEST:
        raise Rejected(f"{field} is not between 0 and {HEAVIEST}", f"it is {weight:g}")
    return weight


READERS: dict[str, Callable[[Row, str], Any]] = {"id": own_id, "task": _text, "weight": _weight, "source": _text}
