"""Versions of releases: three numbers, as in semantic versioning."""

import re
from typing import Literal

from ollamake.release.errors import ReleaseError

Part = Literal["major", "minor", "patch"]
FIRST = "1.0.0"
_FORM = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)


def numbers(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version. Raises ReleaseError for any other form; Ollama's tags know no `+`."""
    match = _FORM.fullmatch(version)
    if not match:
        raise ReleaseError(
            f"{version!r} is no version", hint="write three numbers, such as 1.2.0, or leave it out: --bump counts up"
        )
    return tuple(map(int, match.groups()))


def is_version(text: str) -> bool:
    """Tell whether the text has the form of a version."""
    return _FORM.fullmatch(text) is not None


def bumped(latest: str | None, part: Part) -> str:
    """Return the version that follows `latest`; the first one where there is none."""
    if latest is None:
        return FIRST
    major, minor, patch = numbers(latest)
    return {"major": f"{major + 1}.0.0", "minor": f"{major}.{minor + 1}.0", "patch": f"{major}.{minor}.{patch + 1}"}[
        part
    ]
