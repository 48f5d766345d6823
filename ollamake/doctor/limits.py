"""How much memory processes here may take: the machine's, or less in a container, a batch job or a systemd slice."""

from collections.abc import Iterator
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Files of a control group of version 2 and 1: the limit, what is taken of it, and cached files that nobody has used for
# a while, which count as taken and are given back when memory runs short.
UNIFIED = ("memory.max", "memory.current", "inactive_file")
BY_KIND = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def machine_memory() -> tuple[int, int]:
    """Return the memory that processes here may take and what of it is free, in bytes."""
    import psutil

    machine = psutil.virtual_memory()
    total, free = int(machine.total), int(machine.available)
    for limit, taken in _limits():
        total, free = min(total, limit), min(free, max(limit - taken, 0))
    return total, free


def _limits() -> Iterator[tuple[int, int]]:
    """Yield the limit and what is taken of it, for every control group that this process is in, outer ones too."""
    for line in OWN.read_text(encoding="utf-8").splitlines() if OWN.is_file() else ():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, names = (GROUPS / "memory", BY_KIND) if kinds else (GROUPS, UNIFIED)
        # A container sees its own group as the root, whatever path it is told.
        own = root.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
        for folder in [own, *own.parents][: len(own.relative_to(root).parts) + 1]:
            yield from _limit(folder, *names)


def _limit(folder: Path, limit: str, taken: str, reclaimable: str) -> Iterator[tuple[int, int]]:
    said = {name: _read(folder / name).strip() for name in (limit, taken)}
    if not said[limit].isdecimal():  # "max", or no such file
        return
    statistics = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
    yield int(said[limit]), int(said[taken] or 0) - int(statistics.get(reclaimable, 0))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
