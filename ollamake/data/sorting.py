"""Every row of the sources into its split, or into the findings: three passes, of which none holds the rows in memory.

1. Read: workers turn rows into finished lines, which go to scratch files, and a few numbers, which stay in memory.
2. Deal: by these numbers it is decided what becomes of each row.
3. Write: the lines are read once more and written to the files of their splits.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson

from ollamake.data import dealing, tally
from ollamake.data.columns import each, view
from ollamake.data.dealing import TRAIN, Deal, Rules, deal
from ollamake.data.duplicates import Rows
from ollamake.data.findings import FIRST_KEPT, Finding, Findings, excerpt
from ollamake.data.formats.file import require_file
from ollamake.data.gathering import Gathered, gather
from ollamake.data.order import AS_THEY_COME, train_order
from ollamake.data.records import Reader, with_id
from ollamake.data.sources import Source
from ollamake.data.split import SPLITS
from ollamake.data.spool import Spool
from ollamake.data.tally import Tally
from ollamake.files import require_space

# The lines and the sketches, and the splits beside them. Compressed sources need more, by how much is not known yet.
SPACE_FOR_BYTES = 3
USED_BEFORE = "an id that another row has"
NEARLY_THE_SAME = "nearly the same prompt"
BUFFER_BYTES = 1 << 20
NONE: Rows = np.empty(0, np.int64)
REASONS = {
    dealing.REPEATED: tally.REPEATED,
    dealing.NEARLY_REPEATED: tally.NEARLY_REPEATED,
    dealing.BEYOND: tally.BEYOND,
    dealing.UNDRAWN: tally.UNDRAWN,
}


def sort_rows(sources: Sequence[Source], rules: Rules, folder: Path) -> Tally:
    """Write each usable row to the file of its split in `folder`, and tell what became of all.

    Raises DataError when a source cannot be read, or has no losses to sort by; DiskError when there is no room.
    """
    files = [Path(file) for source in sources for file in source.files]
    for file in files:
        require_file(file)
    require_space(folder, SPACE_FOR_BYTES * sum(file.stat().st_size for file in files), "preparing the data")
    with Spool(folder) as spool:
        reader = Reader(tuple(sources), rules.seed, rules.train_order, sketched=rules.near_duplicates < 1)
        gathered = gather(reader, spool)
        found = Tally(sources, gathered.rows, gathered.rejected, gathered.repaired, gathered.ignored, gathered.judged)
        dealt = deal(gathered, rules, spool.sketches())
        _count(found, gathered, dealt)
        _describe(found, gathered, dealt, spool)
        _write(folder, spool, gathered, dealt, rules.train_order)
    return found


def _count(found: Tally, gathered: Gathered, dealt: Deal) -> None:
    written = np.bincount(dealt.fates, weights=dealt.times, minlength=len(SPLITS))
    found.kept = {name: int(count) for name, count in zip(SPLITS, written, strict=False)}
    found.copies = int(dealt.times[dealt.times > 1].sum() - np.count_nonzero(dealt.times > 1))
    sizes = dealt.near.sizes
    found.groups, found.rows_in_groups, found.largest_group = len(sizes), int(sizes.sum()), int(sizes.max(initial=0))
    for source, taken in gathered.slices():
        found.kept_by_source[source.name] += int(dealt.times[taken].sum())
    by_task = np.bincount(view(gathered.columns.task), weights=dealt.times, minlength=len(gathered.tasks))
    found.kept_by_task = {name: int(by_task[number]) for name, number in gathered.tasks.items() if name}


def _describe(found: Tally, gathered: Gathered, dealt: Deal, spool: Spool) -> None:
    """Add the findings about rows that could be used: those that are in no split, near duplicates, and changed ids."""
    lengths = view(gathered.columns.length)

    def add(findings: Findings, verdict: str, reason: str, rows: Rows, relation: str = "", others: Rows = NONE) -> None:
        if not len(rows):
            return
        first = rows[:FIRST_KEPT]
        details = [f"{relation} {gathered.place(other)}" for other in others[:FIRST_KEPT].tolist()] or [""] * len(first)
        findings.counts[reason] += len(rows)
        findings.first[reason] = [
            Finding(gathered.place(row), verdict, reason, detail, _said(line))
            for row, line, detail in zip(first.tolist(), spool.lines_of(first, lengths), details, strict=True)
        ]

    for fate, pairs in ((dealing.REPEATED, dealt.repeated), (dealing.NEARLY_REPEATED, dealt.near.dropped)):
        add(found.left_out, "left out", REASONS[fate], pairs[:, 0], "as", pairs[:, 1])
    for fate in (dealing.BEYOND, dealing.UNDRAWN):
        add(found.left_out, "left out", REASONS[fate], np.flatnonzero(dealt.fates == fate))
    add(found.tied, "kept", NEARLY_THE_SAME, dealt.near.tied[:, 0], "like", dealt.near.tied[:, 1])
    add(found.repaired, "repaired", USED_BEFORE, dealt.renamed)


def _write(folder: Path, spool: Spool, gathered: Gathered, dealt: Deal, order: str) -> None:
    """Write the files of the splits: rows in the order of the sources, training rows in their own if they have one."""
    lengths, times = view(gathered.columns.length), dealt.times
    renamed = np.zeros(len(lengths), bool)
    renamed[dealt.renamed] = True
    with ExitStack() as files:
        streams = [files.enter_context((folder / f"{name}.jsonl").open("wb", BUFFER_BYTES)) for name in SPLITS]
        if order not in AS_THEY_COME:
            rows = np.flatnonzero(dealt.fates == TRAIN)
            rows = train_order(rows, gathered, dealt.identities, order)
            training = each(times[rows], renamed[rows], dealt.identities[rows])
            for line, as_written in zip(spool.lines_of(rows, lengths), training, strict=True):
                streams[TRAIN].write(_final(line, *as_written))
            times = np.where(dealt.fates == TRAIN, 0, times)
        rest = each(dealt.fates, times, renamed, dealt.identities)
        for line, (fate, count, new_id, identity) in zip(spool.lines(lengths), rest, strict=True):
            if count:
                streams[fate].write(_final(line, count, new_id, identity))


def _final(line: bytes, times: int, renamed: bool, identity: int) -> bytes:
    return (with_id(line, f"{identity:016x}") if renamed else line) * times


def _said(line: bytes) -> str:
    row = orjson.loads(line)
    return excerpt(row["text"] if "text" in row else next(m["content"] for m in row["messages"] if m["role"] == "user"))
