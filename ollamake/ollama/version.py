"""Which versions of Ollama will do."""

import re
from typing import Protocol

from ollamake.errors import ServerError
from ollamake.ollama.refusals import AGAIN

# Renders without answering since 0.11.5, gives log probabilities since 0.12.11. Newer ones are taken unseen, since
# every model is proved in the server at hand; two major numbers on, these may no longer be the requests it knows.
SUPPORTED = MIN_VERSION, END_VERSION = (0, 12, 11), (2, 0, 0)
DEVELOPMENT = "0.0.0"  # what a server built from source calls itself


class Versioned(Protocol):
    """A server that tells its version."""

    url: str

    def version(self) -> str:
        """Return the version, such as `0.33.0`."""


def require_version(server: Versioned) -> str:
    """Return the server's version. Raises ServerError when it is none, or not in SUPPORTED (the second one is not)."""
    version = server.version()
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)  # int refuses more than 4,300 digits
    if not numbers:
        raise ServerError(
            f"calls itself version {version[:40]!r}; is it Ollama?", where=server.url, hint="check OLLAMA_HOST"
        )
    found = tuple(map(int, numbers.groups()))
    oldest, end = (".".join(map(str, bound)) for bound in SUPPORTED)
    if numbers[0] != DEVELOPMENT and found < MIN_VERSION:
        raise ServerError(
            f"Ollama {version} is too old: it takes {oldest} or newer",
            where=server.url,
            hint=f"update Ollama (https://ollama.com/download), {AGAIN}",
        )
    if found >= END_VERSION:
        raise ServerError(
            f"Ollama {version} is newer than any that is known here: from {oldest} up to, but not {end}",
            where=server.url,
            hint=f"get a newer ollamake, or let OLLAMA_HOST name a server of such a version, {AGAIN}",
        )
    return version
