"""What a check comes to: its verdict, and the finding that is made of it. Printing stands apart, in show.py."""

from typing import Literal, NamedTuple

Status = Literal["fine", "warning", "failure", "skipped"]


class Verdict(NamedTuple):
    """What one check found: `detail` in a sentence, `hint` what to do next, with a command where there is one."""

    status: Status
    detail: str
    hint: str = ""


class Finding(NamedTuple):
    """A verdict with the name of its check and the group in which it is shown."""

    group: str
    check: str
    status: Status
    detail: str
    hint: str


class SkippedError(Exception):
    """A check that has nothing to look at; the text says why."""


def fine(detail: str) -> Verdict:
    """Return the verdict of a check that found nothing to do."""
    return Verdict("fine", detail)


def warning(detail: str, hint: str) -> Verdict:
    """Return the verdict of a check that found something which a build survives."""
    return Verdict("warning", detail, hint)


def failure(detail: str, hint: str) -> Verdict:
    """Return the verdict of a check that found something on which a build or an experiment fails."""
    return Verdict("failure", detail, hint)


def named(items: list[str], shown: int = 3) -> str:
    """Return the first few of `items`, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more
