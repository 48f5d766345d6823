"""What is verified: parts of files, each with the hash that was recorded when it was written."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

Algorithm = Literal["md5", "sha256"]


class Expected(NamedTuple):
    """A file (or a folder, by DVC's md5 of one) and the hash that it has to have; `remedy` is asked if it has not."""

    path: Path
    algorithm: Algorithm
    digest: str
    remedy: Callable[[], str]


class Flaw(NamedTuple):
    """What is not as it was recorded: where, what of it, and the commands that mend it."""

    where: str
    what: str
    remedy: str


class Part(NamedTuple):
    """Files that are looked at together; `flaws` are those that need no hashing, `skipped` says why nothing is."""

    name: str
    files: tuple[Expected, ...] = ()
    flaws: tuple[Flaw, ...] = ()
    note: str = ""
    skipped: str = ""


class Result(NamedTuple):
    """What a part came to; `read_bytes` leaves out what another part had read already, by the same name on disk."""

    part: Part
    read_bytes: int
    seconds: float
    flaws: tuple[Flaw, ...]
