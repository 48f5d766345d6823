"""What can go wrong in a sweep."""

from ollamake.errors import OllamakeError


class SweepError(OllamakeError):
    """A sweep cannot begin or go on."""


SILENT = "it said nothing"


def first_line(said: str) -> str:
    """Return the first line of what a program said of its failure, in which there may be none."""
    return next(iter(said.strip().splitlines()), SILENT)
