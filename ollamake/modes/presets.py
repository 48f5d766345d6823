"""The overrides of a mode: a flat file of `key: value` lines, checked as params.yaml is before anything runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake import params
from ollamake.errors import ParamsError
from ollamake.overrides import words

FOLDER = Path("modes")


def overrides(mode: str, given: Sequence[str]) -> dict[str, Any]:
    """Return what the mode and then the person (`key=value` each) put in the place of params.yaml's values.

    Raises ParamsError, for params.yaml as it stands as well as for what would come of it.
    """
    path = FOLDER / f"{mode}.yaml"
    content = params.read()
    params.check(content)
    chosen = dict(params.read(path)) | dict(map(_parse, given))
    params.check({**content, **chosen}, Path(f"params.yaml with {path}{' and --set-param' if given else ''}"))
    return chosen


def arguments(chosen: Mapping[str, Any]) -> list[str]:
    """Return the overrides as arguments of `dvc exp run`."""
    return [argument for word in words(chosen) for argument in ("-S", word)]


def _parse(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    try:
        chosen = YAML(typ="safe", pure=True).load(value)
        if separator and not any(map(params.holds_half_a_pair, YAML(typ="safe", pure=True).parse(value))):
            return key.strip(), chosen
    except (YAMLError, RecursionError, ValueError, TypeError):  # of brackets, long numbers, days that there are not
        pass
    shown = text[: params.SHOWN_CHARACTERS]
    raise ParamsError(f"is no key=value: {shown}", where="--set-param", hint="such as `-S lora_rank=8`")
