"""`prod` moves: forward to a release, or back to what it named before."""

from ollamake.release.channels import CANDIDATE, PREVIOUS, PROD, TagServer, move, read_channels
from ollamake.release.errors import ReleaseError
from ollamake.release.prove import prove
from ollamake.release.record import Record, read_record


def promote(server: TagServer, version: str | None) -> Record:
    """Let prod name a release, by default the candidate, and prod-previous what prod named; return the release.

    Raises ReleaseError or ServerError, and leaves both as they were.
    """
    channels = read_channels()
    version = version or channels.get(CANDIDATE)
    if version is None:
        raise ReleaseError("there is no candidate to promote", hint="`python -m ollamake release create` makes one")
    record = read_record(version)
    before = channels.get(PROD)
    prove(server, record)
    previous = {PREVIOUS: read_record(before)} if before and before != version else {}
    move(server, {**previous, PROD: record})
    return record


def roll_back(server: TagServer) -> tuple[Record, Record]:
    """Let prod and prod-previous change places; return the release that is prod now, and the one that was.

    Raises ReleaseError or ServerError, and leaves both as they were.
    """
    channels = read_channels()
    if PROD not in channels or PREVIOUS not in channels:
        raise ReleaseError(
            f"prod never named {'another' if PROD in channels else 'a'} release",
            hint="`python -m ollamake release promote VERSION` takes any that `release list` shows",
        )
    back, gone = read_record(channels[PREVIOUS]), read_record(channels[PROD])
    prove(server, back)
    move(server, {PREVIOUS: gone, PROD: back})
    return back, gone
