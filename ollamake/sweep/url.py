"""The URL of a storage: where it is given, and how it may be shown, since it may hold a password."""

import os
import re

VARIABLE = "OLLAMAKE_SWEEP_STORAGE"
KINDS = "postgresql://USER@HOST/DATABASE, grpc://HOST:PORT or journal:/SHARED/FILE.log"
HINT = f"`--storage` or {VARIABLE} takes {KINDS}; without them the study lives in this checkout (docs/sweeps.md)"


def shared(url: str | None) -> str | None:
    """Return the URL given, else that in the environment, else None: the study then lives in this checkout."""
    return url or os.environ.get(VARIABLE) or None


def describe(url: str | None) -> str:
    """Return the URL as it may be shown: without password and options."""
    if not url:
        return "the journal file in this checkout"
    scheme, _, rest = url.partition(":")
    if scheme == "journal":
        return url
    found = re.fullmatch(r"//(?:([^:@/?]*)(?::[^@]*)?@)?([^:@/?]*(?::\d+)?)(/[^@?]*)?(?:\?[^@]*)?", rest)
    if not found:
        return "the storage"  # what cannot be told apart may be the password
    user, host, database = (part or "" for part in found.groups())
    return f"{scheme}://{user}{'@' if user else ''}{host}{database}"
