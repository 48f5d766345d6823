"""A command without any network, not even this machine's own address: `unshare` gives it an empty one."""

import os
import subprocess

from tests.faults.disk import UnavailableError


def without_network() -> list[str]:
    """Return the start of a command that has no network. Raises UnavailableError where the system does not allow it."""
    start = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        done = subprocess.run([*start, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        raise UnavailableError("there is no `unshare` here") from None
    if done.returncode:
        raise UnavailableError(f"no network of its own for a command: {done.stderr.strip()}")
    return start
