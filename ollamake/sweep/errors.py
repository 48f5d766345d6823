"""What can go wrong in a sweep."""

from ollamake.errors import OllamakeError


class SweepError(OllamakeError):
    """A sweep cannot begin or go on."""
