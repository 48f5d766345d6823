"""data/prepared/report.md: what became of the data, for people."""

import re
from collections.abc import Iterable, Iterator

from ollamake.data.findings import Finding, Findings, excerpt
from ollamake.data.tally import IGNORED_SHOWN, Tally


def report(tally: Tally) -> str:
    """Return the report as Markdown: the numbers of metrics/prepare.json, and the first rows behind each."""
    return "\n".join(["# What became of the data", "", *_overview(tally), *_sections(tally)])


def _overview(tally: Tally) -> Iterator[str]:
    files = sum(len(source.files) for source in tally.sources)
    written, rejected = sum(tally.kept.values()), tally.rejected.counts.total()
    left_out, origin = tally.left_out.counts.total(), f"{files:,} file{'s' if files != 1 else ''}"
    yield (
        f"{_rows(tally.rows.total())} from {origin}: {written - tally.copies:,} in the splits, {left_out:,} left out, "
        f"{rejected:,} ({tally.rejected_fraction:.1%}) unusable."
    )
    yield ""
    yield from _table(("split", "rows"), ((name, f"{count:,}") for name, count in tally.kept.items()))
    if tally.copies:
        yield from [f"{tally.copies:,} of the training rows are copies, made because of their weight.", ""]
    names = dict.fromkeys(source.name for source in tally.sources)
    counts = ((_plain(name), f"{tally.rows[name]:,}", f"{tally.kept_by_source[name]:,}") for name in names)
    yield from _table(("source", "rows read", "rows in the splits"), counts)
    if tally.kept_by_task:
        tasks = sorted(tally.kept_by_task.items(), key=lambda item: (-item[1], item[0]))
        yield from _table(("task", "rows in the splits"), ((_plain(name), f"{count:,}") for name, count in tasks))
    if tally.judged:
        yield from _table(
            ("judged answers", "usable rows"), ((kind, f"{n:,}") for kind, n in sorted(tally.judged.items()))
        )


def _sections(tally: Tally) -> Iterator[str]:
    yield from _section("Rows that cannot be used", "", tally.rejected)
    yield from _section("Rows that were left out", "", tally.left_out)
    groups = (
        f"Prompts that share most of their phrases; what they connect is a group, which lies in one split. Groups: "
        f"{tally.groups:,}, with {_rows(tally.rows_in_groups)}; the largest has {_rows(tally.largest_group)}."
    )
    yield from _section("Near duplicates that stay", groups, tally.tied, counted="pairs")
    yield from _section("Rows that were repaired", "They are used, in their repaired form.", tally.repaired)
    if tally.ignored:
        yield from ["## Fields that are not used", ""]
        fields = sorted(tally.ignored.most_common(IGNORED_SHOWN), key=lambda item: (-item[1], item[0]))
        yield from _table(("field", "rows in which it holds something"), ((_code(k), f"{n:,}") for k, n in fields))


def _section(title: str, text: str, findings: Findings, counted: str = "rows") -> Iterator[str]:
    if not findings.counts:
        return
    yield from [f"## {title}", "", *([text, ""] if text else [])]
    for reason, count in findings.ranked():
        yield from [f"### {_plain(reason)}: {count:,} {counted if count != 1 else counted[:-1]}", ""]
        yield from map(_item, findings.first[reason])
        if count > len(findings.first[reason]):
            yield f"- … and {count - len(findings.first[reason]):,} more"
        yield ""


def _item(finding: Finding) -> str:
    place = f"{_code(finding.place.file)}, {finding.place.unit} {finding.place.number}"
    detail = f" ({_plain(finding.detail)})" if finding.detail else ""
    return f"- {place}{detail}{f': {_code(finding.excerpt)}' if finding.excerpt else ''}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a table whose columns are numbers but for the first."""
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    yield ""


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _code(text: str) -> str:
    """Return the text as Markdown code, with a fence that does not occur in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{excerpt(text)}{space}{fence}"


def _plain(text: str) -> str:
    """Return the text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_<>\[\]#|])", r"\\\1", excerpt(text))
