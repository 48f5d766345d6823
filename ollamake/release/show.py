"""The releases on a screen: the list of all, and all that is known of one."""

import json
from collections.abc import Iterator, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ollamake.judge.page import summary_line
from ollamake.release.changes import scores
from ollamake.release.channels import CHANNELS, read_channels, served_versions
from ollamake.release.notes import score_text
from ollamake.release.record import Record
from ollamake.scoring.names import heading


def show_list(records: list[Record], digests: Mapping[str, str] | None, console: Console) -> None:
    """Print a line for each release, the newest first; `digests` are the server's tags, None without a server."""
    if not records:
        console.print("no release yet: `python -m ollamake release create` makes one of what the last build served")
        return
    channels = read_channels()
    metric = records[-1].scores["metric"]  # the gate's; `notes`, `diff` and `whence` show all
    table = Table(title=records[-1].name, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("tag", "channels", "made", heading(metric), "file", "here"):
        table.add_column(column, no_wrap=column != "channels")
    for record in reversed(records):
        found = scores(record)
        table.add_row(
            record.tag.rpartition(":")[2],
            " ".join(channel for channel in reversed(CHANNELS) if channels.get(channel) == record.version),
            record.created[:10],
            score_text(metric, found[metric]) if metric in found else "",
            f"{record.serving.quantization} {record.serving.size_bytes / 1e6:,.1f} MB",
            "?" if digests is None else "yes" if record.tag in digests else "no",
        )
    console.print(table)
    for line in _drift(records, channels, digests):
        console.print(line, highlight=False, soft_wrap=True)


def _drift(records: list[Record], channels: Mapping[str, str], digests: Mapping[str, str] | None) -> Iterator[str]:
    if digests is None:
        yield "no Ollama server at hand, so nothing is known of what it holds"
        return
    there = served_versions(digests, records)
    wrong = [channel for channel in CHANNELS if channel in channels and there.get(channel) != channels[channel]]
    for channel in wrong:
        held = there.get(channel, "nothing")
        yield f"{channel} is {channels[channel]}, but {records[-1].name}:{channel} in this server is {held}"
    for version in dict.fromkeys(channels[channel] for channel in wrong):
        yield f"`python -m ollamake release deploy {version}` makes this server follow"


def describe(record: Record) -> str:
    """Return all that a release came from and came to, a line each, with every parameter at the end."""
    lines = {
        "release": f"{record.name} {record.version}, made {record.created}",
        "channels": " ".join(name for name, version in read_channels().items() if version == record.version) or "none",
        "tag": record.tag,
        "digest": f"{record.tag_digest} in Ollama {record.server_version}",
        "commit": f"{record.git_commit}, the release itself {record.git_tag}",
        "base": " ".join(filter(None, record.base.values())),
        "file": f"{record.serving.gguf}, {record.serving.quantization}, {record.serving.size_bytes:,} bytes, sha256 "
        f"{record.serving.sha256}",
    }
    figures = {heading(name): score_text(name, score) for name, score in scores(record).items()}
    scored = {"data": _data(record), "scores": figures, "judge": _judge(record)}
    sections = {**scored, "checks": record.checks, "params": _params(record)}
    text = "\n".join(f"{name:<9} {value}" for name, value in lines.items())
    return "\n\n".join([text, *(f"{title}\n{_indented(content)}" for title, content in sections.items() if content)])


def _data(record: Record) -> dict[str, str]:
    rows = {split: f"{count:,} conversations" for split, count in record.rows.items()}
    return {**rows, **{path: f"md5 {digest}" for path, digest in record.data.items()}}


def _judge(record: Record) -> dict[str, str]:
    found = record.judge
    return {"model": f"{found['judge_model']}, {found['digest']}", "verdict": summary_line(found)} if found else {}


def _params(record: Record) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in record.params.items()}


def _indented(content: Mapping[str, str]) -> str:
    width = max(map(len, content))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in content.items())
