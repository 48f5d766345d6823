"""A command without a network: `unshare` gives it one in which there is nothing but this machine's own address."""

import subprocess
import sys
from functools import cache

# A new network has not even that address, at which convert asks its llama.cpp.
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""

# As a person has it: the tests' own setting keeps all libraries from asking.
ONLINE = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
ALONE = ("unshare", "--net", "--map-root-user")
WITHOUT_NETWORK = (*ALONE, sys.executable, "-c", LOOPBACK)  # the start of a command; `lacking(*ALONE)` tells why not


@cache
def lacking(*start: str) -> str:
    """Return why a command cannot begin like this, in a namespace of its own; empty where it can."""
    try:
        done = subprocess.run([*start, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        return f"there is no `{start[0]}` here"
    return f"such a namespace is not allowed: {done.stderr.strip()}" if done.returncode else ""
