"""The most memory that a process has held."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def resident_peak_mb() -> float:
    """Return the most main memory that this process has held at once, in MB (10^6 bytes)."""
    if not STATUS.exists():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 1e6, 1)
    # Not ru_maxrss, which begins at the peak of the process that started this one.
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")) / 1e6, 1)


def children_peak_mb() -> float:
    """Return the most main memory that one of the processes started by this one, and ended, has held, in MB."""
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * UNIT / 1e6, 1)
