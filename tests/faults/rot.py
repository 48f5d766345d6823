"""Bit rot: a file whose bytes change while its size, its times and its rights stay.

From the command line: python -m tests.faults.rot FILE [PLACE]
"""

import os
import sys
from pathlib import Path


def flip(file: Path, place: int | None = None) -> None:
    """Flip the lowest bit of the byte at `place` (by default the middle one) where it lies, behind every link to it."""
    status = file.stat()
    place = status.st_size // 2 if place is None else place
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.seek(place)
        [byte] = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


if __name__ == "__main__":
    flip(Path(sys.argv[1]), *map(int, sys.argv[2:]))
