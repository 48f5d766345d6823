"""dvc.lock, on which every DVC command fails when a kill has cut it."""

from ollamake import locks
from ollamake.doctor.finding import Verdict, failure, fine
from ollamake.doctor.subject import LOCK, Subject


def lock(_: Subject) -> Verdict:
    """Look whether DVC can read dvc.lock."""
    text = locks.read(LOCK)
    if problem := locks.damage(text):
        return failure(f"{LOCK} {problem}, and every DVC command fails on it", "`python -m ollamake check` mends it")
    return fine("nothing was built yet" if text is None else "DVC can read it")
