"""params.yaml: read as DVC reads it (YAML 1.2), checked whole before any stage starts its work."""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import DocumentStartEvent, MappingStartEvent, NodeEvent, ScalarEvent

from ollamake.errors import ParamsError

PARAMS = Path("params.yaml")
RESTORE = "correct the file, or `git diff params.yaml` to see what changed"
SHOWN_CHARACTERS = 80
# Only an escape in quotes can write it. No UTF-8 file can hold it again, and pydantic fails over a message with it.
SURROGATE = re.compile("[\ud800-\udfff]")
Schema = TypeVar("Schema", bound="StageParams")


class StageParams(BaseModel):
    """The parameters of one stage: exactly the keys that dvc.yaml lists for it, without defaults and without coercion.

    A default here would be a parameter that DVC cannot see; a coerced type would differ from the one DVC compares.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def read(path: Path = PARAMS) -> Mapping[str, Any]:
    """Return the top-level mapping of `path`, which knows the line of each key. Raises ParamsError."""
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_more_than_values(text, path)
        content = YAML(typ="rt").load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"cannot be read: {error}", where=str(path), hint=RESTORE) from error
    except MarkedYAMLError as error:
        where = f"{path}, line {error.problem_mark.line + 1}"
        raise ParamsError(f"is not valid YAML: {error.problem}", where=where, hint=RESTORE) from error
    except (YAMLError, ValueError) as error:  # ValueError: a date without such a day, a number of 5,000 digits
        raise ParamsError(f"is not valid YAML: {str(error).splitlines()[0]}", where=str(path), hint=RESTORE) from error
    if not isinstance(content, Mapping):
        raise ParamsError("holds no `key: value` lines", where=str(path), hint=RESTORE)
    return content


def _refuse_more_than_values(text: str, path: Path) -> None:
    """Raise ParamsError for what YAML can do beyond `key: value`, before any of it is done.

    Nine lines of anchors and aliases are a billion values; tags make objects; `%YAML 1.1` means other values to us than
    to DVC.
    """
    inside = False
    for event in YAML(typ="rt", pure=True).parse(text):
        if extra := _beyond_a_value(event, inside=inside):
            where = f"{path}, line {event.start_mark.line + 1}"
            raise ParamsError(f"{extra}; a parameter is one number, word or text", where=where, hint=RESTORE)
        inside = inside or isinstance(event, MappingStartEvent)


def _beyond_a_value(event: Any, *, inside: bool) -> str:
    """Return what an event of the YAML parser is, empty for what params.yaml needs."""
    if isinstance(event, DocumentStartEvent):
        return "has a %YAML directive" if event.version or event.tags else ""
    if not isinstance(event, NodeEvent):
        return ""
    if event.anchor:
        return f"has the anchor or alias {event.anchor}"
    if tag := getattr(event, "tag", None):
        return f"has the tag {tag}"
    if inside and not isinstance(event, ScalarEvent):
        return "has a list or a mapping in it"
    return "has half of a surrogate pair in it" if holds_half_a_pair(event) else ""


def holds_half_a_pair(event: Any) -> bool:
    """Return whether an event of the YAML parser is text with half of a surrogate pair in it."""
    return isinstance(event, ScalarEvent) and SURROGATE.search(event.value) is not None


def schemas() -> dict[str, type[StageParams]]:
    """Return the Params of every stage, by stage name; a module without any is none, and left out.

    The stages are imported by name, not by an import statement: checking another stage's parameters can stop a run
    but never change what it writes, so a stage does not depend on the code of its siblings.
    """
    import stages

    names = [module.name for module in pkgutil.iter_modules(stages.__path__)]
    found = {name: getattr(importlib.import_module(f"stages.{name}"), "Params", None) for name in names}
    return {name: schema for name, schema in found.items() if schema is not None}


def findings(content: Mapping[str, Any], stages: Mapping[str, type[StageParams]]) -> list[str]:
    """Return one sentence for each unknown, missing or mistyped parameter, in the order of the file."""
    known = {key for schema in stages.values() for key in schema.model_fields}
    found = [(_line(content, key), _unknown(key, known)) for key in content if key not in known]
    for name, schema in stages.items():
        for key, message in _problems(schema, content):
            found.append((_line(content, key), f"{key}: {message} (stage {name})"))
    return [f"line {line}: {text}" if line else text for line, text in sorted(set(found))]


def check(content: Mapping[str, Any], path: Path = PARAMS) -> None:
    """Raise one ParamsError that names everything wrong in the whole file."""
    found = findings(content, schemas())
    if found:
        raise ParamsError(
            "\n  ".join([f"{len(found)} problem{'s' if len(found) > 1 else ''}", *found]),
            where=str(path),
            hint=f"{RESTORE}; the comment beside each key says what it takes",
        )


def select(schema: type[Schema], content: Mapping[str, Any]) -> Schema:
    """Return the parameters of one stage from a file that `check` has passed."""
    return schema.model_validate({key: content[key] for key in schema.model_fields})


def _problems(schema: type[StageParams], content: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        schema.model_validate({key: content[key] for key in schema.model_fields if key in content})
    except ValidationError as error:
        return [(_key(detail, schema), _message(detail)) for detail in error.errors()]
    return []


def _key(detail: Any, schema: type[StageParams]) -> str:
    # A validator over several fields has no location; its message names the keys, any of them serves for the line.
    if detail["loc"]:
        return str(detail["loc"][0])
    return next(key for key in schema.model_fields if key in detail["msg"])


def _message(detail: Any) -> str:
    if detail["type"] == "missing":
        return "is missing"
    if not detail["loc"]:
        return str(detail["ctx"]["error"])
    # Of a validator of our own, without pydantic's "Value error, " before it.
    text = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    return f"{text[0].lower()}{text[1:]}, but it is {_shown(detail['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _unknown(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(str(key), known, n=1)
    return f"{key}: no stage reads this parameter" + (f"; did you mean {close[0]}?" if close else "")


def _line(content: Mapping[str, Any], key: str) -> int:
    position = getattr(content, "lc", None)
    return position.key(key)[0] + 1 if position and key in content else 0
