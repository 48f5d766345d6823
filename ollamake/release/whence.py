"""Where a served model comes from: the way back from anything that Ollama, git or a person calls it."""

from collections.abc import Iterator, Mapping

from ollamake.ollama.names import listed_name
from ollamake.release.channels import CHANNELS, read_channels
from ollamake.release.errors import ReleaseError
from ollamake.release.record import Record, read_records

MIN_DIGITS = 6  # fewer hex digits would name a release by accident


def find(what: str, digests: Mapping[str, str]) -> Record:
    """Return the release that `what` names: a version, a channel, a tag in Ollama or git, or (the start of) a digest.

    `digests` are the tags of the server at hand, so that what another server calls it is found as well; empty where
    there is none. Raises ReleaseError when no release, or more than one, has that name.
    """
    records = read_records()
    wanted = what.strip().lower().removeprefix("sha256:").removeprefix("sha256-")
    # What a tag holds in the server at hand counts for more than what the files say it should.
    wanted = {tag.lower(): digest for tag, digest in digests.items()}.get(listed_name(wanted), wanted)
    found = {record.version: record for record in records if wanted in set(_names(record))}
    if not found and len(wanted) >= MIN_DIGITS:
        found = {
            record.version: record
            for record in records
            if any(digest.startswith(wanted) for digest in _digests(record, digests))
        }
    if len(found) != 1:
        raise ReleaseError(
            f"{what} is {'no release' if not found else 'any of ' + ', '.join(found)}",
            hint="`python -m ollamake release list` shows all; `ollama list` shows the digests of this server",
        )
    return next(iter(found.values()))


def _names(record: Record) -> Iterator[str]:
    yield from (record.version, record.tag.lower(), record.tag.rpartition(":")[2].lower(), record.git_tag.lower())
    named = [channel for channel, version in read_channels().items() if version == record.version]
    yield from named
    yield from (f"{record.name.lower()}:{channel}" for channel in CHANNELS if channel in named)


def _digests(record: Record, digests: Mapping[str, str]) -> Iterator[str]:
    yield from (record.tag_digest, record.content, record.serving.sha256, record.git_commit)
    yield from (digest.removeprefix("sha256:") for digest in record.blobs.values())
    if record.tag in digests:
        yield digests[record.tag]
