"""Which versions of Ollama will do."""

import re
from typing import Protocol

from ollamake.errors import ServerError
from ollamake.ollama.refusals import AGAIN

# Renders without answering since 0.11.5, gives log probabilities since 0.12.11.
MIN_VERSION = (0, 12, 11)
DEVELOPMENT = "0.0.0"  # what a server built from source calls itself


class Versioned(Protocol):
    """A server that tells its version."""

    url: str

    def version(self) -> str:
        """Return the version, such as `0.33.0`."""


def require_version(server: Versioned) -> str:
    """Return the server's version. Raises ServerError when it is too old for what is asked of it, or no version."""
    version = server.version()
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if not numbers:
        raise ServerError(
            f"calls itself version {version!r}; is it Ollama?", where=server.url, hint="check OLLAMA_HOST"
        )
    if numbers[0] != DEVELOPMENT and tuple(map(int, numbers.groups())) < MIN_VERSION:
        oldest = ".".join(map(str, MIN_VERSION))
        raise ServerError(
            f"Ollama {version} is too old: it takes {oldest} or newer",
            where=server.url,
            hint=f"update Ollama (https://ollama.com/download), {AGAIN}",
        )
    return version
