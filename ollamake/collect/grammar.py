"""YAML that a person writes: read safely, checked whole, every mistake named with its line and what was meant."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ollamake.errors import DataError
from ollamake.params import holds_half_a_pair

LARGEST_BYTES = 1 << 20
# Begins the name of an alternative in a location, which the writer of the file knows nothing of.
TAG = "<"
CHANGED_WORDS = {
    "missing": "is missing",
    "model_type": "should hold `key: value` lines",
    "string_type": "should be text; put a number in quotes",
    "tuple_type": "should be a list, each entry behind a `-`",
}


class Part(BaseModel):
    """A part of such a file: every key known, none coerced but a YAML list to a tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Schema = TypeVar("Schema", bound=Part)
Entries = TypeVar("Entries", bound=Sequence[Any])


def not_empty(entries: Entries) -> Entries:
    """Return the entries, unless there are none. The length limit of pydantic counts wrong entries as missing ones."""
    if not entries:
        raise ValueError("is empty")
    return entries


def load(path: Path) -> Any:
    """Return the YAML content of `path`, whose mappings know the line of each key. Raises DataError."""
    try:
        if path.is_file() and path.stat().st_size > LARGEST_BYTES:
            raise DataError(
                "is too large for a list of sources", where=str(path), hint="write the records as JSONL, not as YAML"
            )
        text = path.read_text(encoding="utf-8")
        content = YAML(typ="rt").load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(path), hint="data_source in params.yaml names the file"
        ) from error
    except (YAMLError, RecursionError, ValueError, TypeError) as error:
        # The last two: a number of 5,000 digits, a date without such a day, a list as a key.
        raise _broken(path, error) from error
    _refuse_halves_of_pairs(text, path)
    return content


def _refuse_halves_of_pairs(text: str, path: Path) -> None:
    for event in YAML(typ="rt", pure=True).parse(text):
        if holds_half_a_pair(event):
            raise DataError(
                "has half of a surrogate pair in it",
                where=f"{path}, line {event.start_mark.line + 1}",
                hint="write the character itself, without \\u",
            )


def validate(schema: type[Schema], content: Any, keys: Collection[str], *, where: Path, noun: str, hint: str) -> Schema:
    """Return `content` as `schema`; `keys` are all that it knows. Raises one DataError that names every mistake."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        found = sorted({_sentence(detail, content, keys) for detail in error.errors()})
    lines = [f"line {line}: {text}" if line else text for line, text in found]
    raise DataError("\n  ".join([f"is not {noun}", *lines]), where=str(where), hint=hint)


def _sentence(detail: Any, content: Any, keys: Collection[str]) -> tuple[int, str]:
    line, key = _place(detail["loc"], content)
    return line, f"{key}: {_message(detail, key, keys)}" if key else _message(detail, key, keys)


def _place(loc: Sequence[str | int], content: Any) -> tuple[int, str]:
    """Return the line of a location and the last key in it; a key that is not there has the line of what lacks it."""
    line, key = 0, ""
    for part in loc:
        if str(part).startswith(TAG):
            continue
        key = part if isinstance(part, str) else key
        if _holds(content, part):
            # A key that comes from a merge (<<) has no line of its own here.
            line, content = (content.lc.data or {}).get(part, [line - 1])[0] + 1, content[part]
    return line, key


def _holds(content: Any, part: str | int) -> bool:
    return part in content if isinstance(content, Mapping) else isinstance(content, list) and isinstance(part, int)


def _message(detail: Any, key: str, keys: Collection[str]) -> str:
    if detail["type"] == "extra_forbidden":
        if key in keys:
            return "has no place here"
        close = difflib.get_close_matches(key, keys, n=1)
        return "there is no such key" + (f"; did you mean {close[0]}?" if close else "")
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] in CHANGED_WORDS:
        return CHANGED_WORDS[detail["type"]]
    said = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    # Only what is short by its kind is shown: a few anchors in YAML make a list whose text fills the memory.
    return f"{said}, but it is {detail['input']!r:.80}" if isinstance(detail["input"], str | int | float) else said


def _broken(path: Path, error: Exception) -> DataError:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    said = error.problem if isinstance(error, MarkedYAMLError) else error
    problem = "nested too deeply" if isinstance(error, RecursionError) else str(said)
    where = f"{path}, line {mark.line + 1}" if mark else str(path)
    return DataError(f"is not valid YAML: {problem}", where=where, hint="indent with spaces, one key a line")
