"""A row of data, and the strict reading of one from JSON: an object, or the reason why it is none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from ollamake.data.findings import EXCERPT_CHARACTERS, Rejected, excerpt

# Of a row's text. What is longer is no training example, and is never held in memory as a whole.
LONGEST_ROW_BYTES = 16 << 20
# Objects and lists within each other. Python gives up between 900 and 1000, by how deep in the program it reads, and a
# row that could just be read could not be shown. No known shape nests more than three.
DEEPEST = 100
TOO_DEEP = "JSON nested too deeply"
Row = dict[str, Any]


class Chunk(Protocol):
    """Some rows of a file, mostly not decoded yet: some megabytes that can be pickled."""

    @property
    def unit(self) -> str:
        """What the numbers of the rows count: "line" or "row"."""

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield each row with its number in the file, the first being 1, or with the reason why it is none."""


@dataclass(frozen=True)
class Refused:
    """A row that was not even kept for decoding."""

    number: int
    verdict: Rejected
    unit: str

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield the verdict."""
        yield self.number, self.verdict


def too_long(unit: str) -> Rejected:
    """Return the verdict on a row of more than LONGEST_ROW_BYTES."""
    return Rejected(f"a {unit} of more than {LONGEST_ROW_BYTES >> 20} MB")


def parse(text: bytes) -> Row | Rejected:
    """Return the JSON object that the text holds, or the reason why it holds none."""
    try:
        row = _DECODER.decode(text.decode("utf-8"))
    except Rejected as verdict:
        return _rejected(text, verdict.reason, verdict.detail)
    except UnicodeDecodeError as error:
        return _rejected(text, "not valid UTF-8", f"byte {error.start + 1} is 0x{text[error.start]:02x}")
    except RecursionError:
        return _rejected(text, TOO_DEEP)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} of it, " if error.lineno > 1 else ""
        return _rejected(text, "not valid JSON", f"{error.msg}, {line}column {error.colno}")
    except ValueError as error:
        return _rejected(text, "not valid JSON", str(error))  # a number of more digits than Python reads
    if isinstance(row, dict):
        return _rejected(text, TOO_DEEP) if _is_deep(text, row) else row
    return _rejected(text, "JSON, but not an object", f"a {type(row).__name__}")


def _rejected(text: bytes, reason: str, detail: str = "") -> Rejected:
    # A character takes up to four bytes.
    return Rejected(reason, detail, excerpt(text[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")))


def _is_deep(text: bytes, row: Row) -> bool:
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    level: list[Any] = [row]
    for _ in range(DEEPEST):
        inside = (value for part in level for value in (part.values() if isinstance(part, dict) else part))
        level = [value for value in inside if isinstance(value, dict | list)]
    return bool(level)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Rejected("a key that stands twice", repr(next(key for key in keys if keys.count(key) > 1)))
    return row


def _no_number(text: str) -> NoReturn:
    raise Rejected("a number that JSON does not have", text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Rejected("a number that is too large", text)
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
