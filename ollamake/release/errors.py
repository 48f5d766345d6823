"""What stops a release. Not in `ollamake.errors`: every stage depends on that module, and no stage on releases."""

from ollamake.errors import OllamakeError


class ReleaseError(OllamakeError):
    """A release cannot be made, found, or moved: nothing was changed unless the message says so."""
