"""The section about data: files with other bytes, rows that came, went or moved between the splits."""

from collections.abc import Iterator, Mapping, Sequence

from ollamake.compare.build import Build
from ollamake.compare.document import Section
from ollamake.compare.figures import data_figures, names
from ollamake.compare.outputs import NotAtHandError
from ollamake.compare.table import Cell, Line, Table, beside, of_builds

SPLITS = ("train", "val", "test", "probe")
FOLDER, SOURCE = "data/", "data_source"
MAX_BYTES = 500_000_000  # a file as large takes some ten seconds
DIGITS = 8
SHOWN_IN_MB = 100_000
Rows = Mapping[str, frozenset[int]]


def data(builds: Sequence[Build]) -> Section:
    """Return what the data was, and which rows differ."""
    tables = [
        data_figures(builds),
        of_builds(names(builds), _files(builds), "Files, by the md5 in dvc.lock", texts=True),
    ]
    notes: list[str] = []
    rows = {build.name: found for build in builds if (found := _rows(build, notes))}
    reference = builds[0]
    if reference.name in rows:
        for build in builds[1:]:
            if build.name in rows and rows[build.name] != rows[reference.name]:
                tables.append(_moved(reference, build, rows))
                notes += _leaks(reference, build, rows)
    return Section("Data", tables, notes, same="the data is the same")


def _files(builds: Sequence[Build]) -> list[Line]:
    found = []
    for build in builds:
        known = {**build.outputs.digests("deps"), **build.outputs.digests()}
        source = str(build.params.get(SOURCE))
        chosen = {path: entry for path, entry in known.items() if path.startswith(FOLDER) or path == source}
        found.append({path: f"{entry.get('md5', '?')!s:.{DIGITS}}  {_size(entry)}" for path, entry in chosen.items()})
    return sorted(beside(found), key=lambda line: line.name)


def _size(entry: Mapping[str, object]) -> str:
    size = entry.get("size")
    if not isinstance(size, int):
        return ""
    return f"{size / 1e6:,.1f} MB" if size >= SHOWN_IN_MB else f"{size:,} B"


def _rows(build: Build, notes: list[str]) -> Rows:
    """Return a number for each row of each prepared split; nothing where they are not at hand, which is noted."""
    try:
        paths = {split: build.outputs.path(f"data/prepared/{split}.jsonl") for split in SPLITS}
    except NotAtHandError as missing:
        notes.append(f"rows are not compared one by one: {missing}")
        return {}
    if sum(path.stat().st_size for path in paths.values()) > MAX_BYTES:
        notes.append(
            f"rows of {build.name} are not compared one by one: there is more than {MAX_BYTES / 1e6:.0f} MB of them"
        )
        return {}
    found = {}
    for split, path in paths.items():
        with path.open("rb") as stream:
            found[split] = frozenset(map(hash, stream))
    return found


def _moved(reference: Build, build: Build, rows: Mapping[str, Rows]) -> Table:
    before, after = rows[reference.name], rows[build.name]
    everything = [frozenset().union(*each.values()) for each in (before, after)]
    lines = []
    for split in SPLITS:
        came, went = after[split] - before[split], before[split] - after[split]
        moved_in, moved_out = len(came & everything[0]), len(went & everything[1])
        counts = [len(after[split] & before[split]), len(came) - moved_in, len(went) - moved_out, moved_in, moved_out]
        lines.append(Line(split, [Cell(f"{count:,}") for count in counts], differs=came != went))
    head = ["split", "in both", "new", "gone", "from another split", "to another split"]
    return Table(head, lines, f"Rows of {build.name} against {reference.name}")


def _leaks(reference: Build, build: Build, rows: Mapping[str, Rows]) -> Iterator[str]:
    """Yield a warning where one build was trained on what the other is tested with."""
    for one, other in ((reference, build), (build, reference)):
        if seen := len(rows[one.name]["train"] & rows[other.name]["test"]):
            conversations = "1 test conversation" if seen == 1 else f"{seen:,} test conversations"
            yield f"! {one.name} was trained on {conversations} of {other.name}: on these its answers are no test"
