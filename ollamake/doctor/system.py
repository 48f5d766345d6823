"""The machine's clock, text encoding and rights, where they would break something."""

import locale
import os
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ollamake.doctor.finding import Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject

# Older than this code: certificates count as not yet valid, and no download works.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
SLACK_SECONDS = 24 * 3600
WRITTEN = (
    ".",
    ".dvc",
    ".dvc/tmp",
    ".git",
    ".ollamake",
    ".checkpoints",
    "data",
    "models",
    "metrics",
    "plots",
    "releases",
)


def clock(_: Subject) -> Verdict:
    """Compare the clock with this code's age and the last commit."""
    now, last = time.time(), 0.0
    with suppress(OSError, ValueError):
        command = ["git", "log", "-1", "--format=%ct"]
        last = float(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    if now < max(EARLIEST.timestamp(), last - SLACK_SECONDS):
        return warning(
            f"the clock says {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC, which is in the past: downloads "
            "fail on certificates, and experiments are out of order",
            "set it, such as with `timedatectl set-ntp true`",
        )
    return fine(f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC")


def encoding(_: Subject) -> Verdict:
    """Look whether text beyond ASCII can be printed and named."""
    name = locale.getencoding()
    try:
        "✓ é 日".encode(name)
    except (UnicodeEncodeError, LookupError):
        return warning(
            f"text is written as {name}, in which tables, samples and answers cannot be printed",
            "`export PYTHONUTF8=1` (or LC_ALL=C.UTF-8)",
        )
    return fine(name)


def rights(_: Subject) -> Verdict:
    """Look whether this user may write where the build writes, and read again what it wrote."""
    if (mask := umask()) & 0o700:
        return failure(f"the umask {mask:03o} takes your own rights from every new file", "`umask 022`")
    closed = [name for name in WRITTEN if Path(name).exists() and not os.access(name, os.W_OK | os.X_OK)]
    if closed:
        return failure(f"no right to write to {named(closed)}", f"`sudo chown -R $(id -un) {' '.join(closed)}`")
    return fine("may write everywhere in the workspace")


def umask() -> int:
    """Return the umask without changing it; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0
