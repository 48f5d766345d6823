"""Release notes: what a release is, and what changed since the last one, as Markdown that also reads well as it is."""

from collections.abc import Mapping, Sequence

from ollamake.judge.page import summary_line
from ollamake.release.changes import (
    Change,
    Score,
    data_changes,
    model_changes,
    param_changes,
    score_changes,
    scores,
)
from ollamake.release.record import Record
from ollamake.scoring.names import figure, heading, measure
from ollamake.scoring.resampling import Difference

MAX_CHARACTERS = 60  # of a value in a table; a template does not fit into one


def notes(new: Record, old: Record | None) -> str:
    """Return the notes of a release, since `old` or, where there is none before it, since the base model."""
    parts = [
        f"# {new.name} {new.version}",
        f"{new.created[:10]}, commit {new.git_commit[:10]}, `ollama run {new.tag}`",
        differences(old, new) if old else _first(new),
    ]
    return "\n\n".join(parts)


def differences(old: Record, new: Record) -> str:
    """Return what changed, in sections; one without changes says so in a line."""
    sections = {
        "Data": data_changes(old, new),
        "Parameters": param_changes(old, new),
        "Model": model_changes(old, new),
    }
    texts = [f"## {title}\n\n{_changes(found, old.version, new.version)}" for title, found in sections.items()]
    return "\n\n".join([*texts, f"## Scores\n\n{_scores(old, new)}", *_judgements(old, new)])


def _first(record: Record) -> str:
    rows = ", ".join(f"{count:,} {split}" for split, count in record.rows.items())
    base = f"{record.base['name']}, {rows} conversations" if rows else record.base["name"]
    columns = ["score", record.version]
    lines = [[heading(name), score_text(name, score)] for name, score in scores(record).items()]
    return "\n\n".join([f"The first release: {base}\n\n## Scores\n\n{_table(columns, lines)}", *_judgements(record)])


def _changes(changes: Sequence[Change], old: str, new: str) -> str:
    if not changes:
        return "The same."
    return _table(["", old, new], [[change.name, _cut(change.before), _cut(change.after)] for change in changes])


def _scores(old: Record, new: Record) -> str:
    before, after = scores(old), scores(new)
    found, shared = score_changes(old, new)
    lines = [
        [heading(name), _standing(name, before), _standing(name, after), *_difference(name, found)] for name in after
    ]
    table = _table(["score", old.version, new.version, "difference", "p"], lines)
    if not shared:
        return f"{table}\n\nThe two share no test item, so that small differences say nothing."
    sets = "the same" if old.items["ids"] == new.items["ids"] else f"{old.items['items']:,} and {new.items['items']:,}"
    return f"{table}\n\n95 % intervals; differences on the {shared:,} test items that both answered ({sets})."


def _judgements(*records: Record) -> list[str]:
    """Return the section about the judge, in which a line says what it came to for each release; none without one."""
    if not any(record.judge for record in records):
        return []
    lines = [f"- {record.version}: {_judgement(record) or 'nobody was asked'}" for record in records]
    return ["\n".join(["## Judge", "", *lines])]


def _judgement(record: Record) -> str:
    found = record.judge
    return f"`{found['judge_model']}` ({found['digest'][:12]}), {summary_line(found)}" if found else ""


def _standing(name: str, found: Mapping[str, Score]) -> str:
    return score_text(name, found[name]) if name in found else ""


def _difference(name: str, found: Mapping[str, Difference]) -> list[str]:
    if name not in found:
        return ["", ""]
    value, low, high = (figure(name, number, "+") for number in found[name][:3])
    return [f"{value} [{low}, {high}]", f"{found[name].p:.2g}" if measure(name).better else ""]


def score_text(name: str, score: Score) -> str:
    """Return a score with its 95 % interval, as it stands in a table."""
    return f"{figure(name, score.value)} [{figure(name, score.low)}, {figure(name, score.high)}]"


def _cut(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return escaped if len(escaped) <= MAX_CHARACTERS else f"{escaped[: MAX_CHARACTERS - 1]}…"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are as wide as what they hold."""
    widths = [max(3, *(len(line[place]) for line in [columns, *lines])) for place in range(len(columns))]
    rows = [columns, ["-" * width for width in widths], *lines]
    return "\n".join(_row(row, widths) for row in rows)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
