"""Claims of DVC's on paths that no DVC stands behind any more, and their end.

A claim says which process reads or writes a path. DVC drops those of processes that are gone, but looks at the number
only: where that was given to another program, every command fails for as long as this program runs.
"""

from pathlib import Path

from ollamake.doctor.runs import PATH_LOCKS, claimed, reused


def clear() -> list[str]:
    """Remove such claims; return a sentence for each list that had some."""
    said = []
    for path in PATH_LOCKS:
        if numbers := _held_in_vain(path):
            _remove(path)
            listed = ", ".join(map(str, numbers))
            said.append(f"{path} was held for process {listed}, which is another program by now; it is let go of")
    return said


def _held_in_vain(path: Path) -> list[int]:
    try:
        return sorted(number for number, command in claimed(path).items() if reused(number, command))
    except ValueError:  # damaged, for ollamake.locks to mend
        return []


def _remove(path: Path) -> None:
    """Rewrite a list without these claims, under the lock under which DVC itself changes it."""
    from dvc.fs import localfs  # takes a second, and most checks need it not
    from dvc.rwlock import _edit_rwlock

    def holds(claim: dict[str, str]) -> bool:
        return not reused(int(claim["pid"]), claim["cmd"])

    with _edit_rwlock(str(path.parent), localfs, hardlink=False) as lists:
        lists["write"] = {name: claim for name, claim in lists["write"].items() if holds(claim)}
        held = {name: list(filter(holds, claims)) for name, claims in lists["read"].items()}
        lists["read"] = {name: claims for name, claims in held.items() if claims}
