"""Old releases leave the server, not the records: `release deploy` brings any of them back."""

from ollamake.release.channels import CHANNELS, TagServer, read_channels
from ollamake.release.record import Record, read_records


def prune(server: TagServer, keep: int, besides: Record) -> list[Record]:
    """Delete the tags of all but the newest `keep` releases from the server; return those that had one.

    What a channel names stays, whether the files say so or the server does, and `besides`. Raises ServerError.
    """
    records, digests = read_records(), server.digests()
    named = {besides.version, *read_channels().values()}
    held = {digests[tag] for record in records for tag in _channel_tags(record) if tag in digests}
    newest = sorted(records, key=lambda record: record.created)[len(records) - min(keep, len(records)) :]
    stay = {record.version for record in newest} | named
    old = [record for record in records if record.version not in stay and digests.get(record.tag, "") not in held]
    gone = [record for record in old if record.tag in digests]
    for record in gone:
        server.delete(record.tag)
    return gone


def _channel_tags(record: Record) -> list[str]:
    return [f"{record.name}:{channel}" for channel in CHANNELS]
