"""Channels: names for releases that move. `releases/channels.json` says which, the server's tags follow.

A move is either whole or undone. The tags of the server come first and the file that git tracks last, so that whatever
fails in between, `prod` answers with one release or the other, both proved; what was moved is then put back. Only a
kill within those milliseconds leaves the two apart: `release list` shows it, `release deploy` makes the server follow.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from ollamake.errors import ServerError
from ollamake.files import atomic_write, read_json
from ollamake.ollama.server import Server
from ollamake.release.errors import ReleaseError
from ollamake.release.record import RELEASES, Record, items_path, read_records
from ollamake.release.version import is_version

CANDIDATE, PROD, PREVIOUS = "candidate", "prod", "prod-previous"
# In the order in which they move: a failure in between has not touched `prod`.
CHANNELS = (CANDIDATE, PREVIOUS, PROD)
FILE, SHIPPED = RELEASES / "channels.json", RELEASES / "shipped.jsonl"
ANOTHER = "no release"


class TagServer(Server, Protocol):
    """A server that also lists its tags."""

    def digests(self) -> dict[str, str]:
        """Return the digest of every tag by its full name."""


def read_channels() -> dict[str, str]:
    """Return the version that each channel names. Raises ReleaseError for a file that cannot be read."""
    try:
        content = read_json(FILE)
        return {channel: str(content[channel]) for channel in CHANNELS if channel in content}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise ReleaseError(
            f"cannot be read: {error}", where=str(FILE), hint=f"`git checkout HEAD -- {FILE}`"
        ) from error


def move(server: TagServer, releases: Mapping[str, Record]) -> None:
    """Let channels name these releases, in the server and in the files; each has to be in the server, proved.

    Only what `prod-previous` names may be missing there: a server that never had it can take the next one all the same.
    Raises ServerError, ReleaseError or OSError, after putting back what was moved.
    """
    there = server.digests()
    moving = {channel: record for channel, record in releases.items() if channel != PREVIOUS or record.tag in there}
    channels = {**read_channels(), **{channel: record.version for channel, record in releases.items()}}
    version = channels.get(PROD)
    with ExitStack() as undo:
        point(server, moving, undo)
        # What the gate compares with: the item scores of the release that prod names, no more than a line feed while it
        # names none (DVC warns of an empty file at every run).
        _write(SHIPPED, items_path(version).read_bytes() if version else b"\n", undo)
        ordered = {channel: channels[channel] for channel in reversed(CHANNELS) if channel in channels}
        _write(FILE, (json.dumps(ordered, indent=2) + "\n").encode(), undo)
        undo.pop_all()


def point(server: TagServer, releases: Mapping[str, Record], undo: ExitStack) -> None:
    """Move the server's channel tags; `undo` learns how to put each back. Raises ServerError or ReleaseError."""
    before = server.digests()
    moving = {f"{releases[channel].name}:{channel}": releases[channel] for channel in CHANNELS if channel in releases}
    for tag, record in moving.items():
        require_there(server, record, before)
        _refuse_to_lose(server, tag, record, before)
    for tag, record in moving.items():
        digest = before[record.tag]
        if before.get(tag) == digest:
            continue
        undo.callback(_put_back, server, tag, before)
        server.copy(record.tag, tag)
        if server.digest(tag) != digest:
            raise ServerError(
                f"{tag} is not {record.tag}, although the server said that it copied it",
                where=server.url,
                hint="read the log of `ollama serve` (`journalctl --unit ollama`), then run this command again",
            )


def served_versions(digests: Mapping[str, str], records: list[Record]) -> dict[str, str]:
    """Return the version that each channel names in a server with these tags; `no release` for any other model."""
    by_digest = {digests[record.tag]: record.version for record in records if record.tag in digests}
    found = {channel: digests.get(f"{records[-1].name}:{channel}") for channel in CHANNELS} if records else {}
    return {channel: by_digest.get(digest, ANOTHER) for channel, digest in found.items() if digest}


def require_there(server: Server, record: Record, digests: Mapping[str, str]) -> None:
    """Raise ReleaseError for a release that is not in the server."""
    if record.tag not in digests:
        raise ReleaseError(
            f"{record.tag} is not there",
            where=server.url,
            hint=f"`python -m ollamake release deploy {record.version}` brings it",
        )


def _refuse_to_lose(server: Server, tag: str, record: Record, digests: Mapping[str, str]) -> None:
    """Raise ReleaseError for a channel's tag that holds somebody's own model."""
    released = {digest for name, digest in digests.items() if name.startswith(f"{record.name}:") and _is_release(name)}
    ours = released | {each.tag_digest for each in read_records()}
    if tag in digests and digests[tag] not in ours:
        raise ReleaseError(
            f"{tag} is none of the releases there, and moving the channel would lose it",
            where=server.url,
            hint=f"`ollama cp {tag} {record.name}:mine && ollama rm {tag}`, then run this command again",
        )


def _is_release(tag: str) -> bool:
    return is_version(tag.rpartition(":")[2].rpartition("-")[0])


def _put_back(server: Server, tag: str, before: Mapping[str, str]) -> None:
    sources = [name for name, digest in before.items() if name != tag and digest == before.get(tag)]
    why = "" if sources or tag not in before else "no other tag there has that model"
    try:
        if sources:
            server.copy(sources[0], tag)
        elif not why:
            server.delete(tag)
    except ServerError as error:
        why = error.problem
    if why:
        print(f"{tag} could not be put back ({why}): run `release deploy` later", file=sys.stderr)


def _write(path: Path, content: bytes, undo: ExitStack) -> None:
    before = path.read_bytes() if path.is_file() else None
    if content != before:
        undo.callback(_restore, path, before)
        _replace(path, content)


def _restore(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != before:  # the disk may be full: what was never replaced is not written again
        _replace(path, before)


def _replace(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)
