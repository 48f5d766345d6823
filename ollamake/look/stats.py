"""`data stats`: how much data there is, what became of every row, and how long the conversations are."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ollamake.look.numbers import REPORT, Numbers, fewer_bins, read_numbers
from ollamake.look.visible import visible

SHOWN = 20  # lines of a table; the rest is summed up in one more
BINS, BAR_WIDTH = 12, 40
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
KINDS = {"rejected": "rejected", "repaired": "repaired", "ignored_fields": "field not read", "left_out": "left out"}
SPLIT_LINES = {
    "rows": "rows",
    "tokens": "tokens",
    "of them trained": "supervised_fraction",
    "half are up to": "length_p50",
    "95 % are up to": "length_p95",
    "longest": "length_max",
    "in rejected answers": "rejected_tokens",
    "thumbs up": "thumbs_up",
    "thumbs down": "thumbs_down",
    "truncated": "truncated",
    "texts cut into rows": "split",
    "taken turn by turn": "turn_by_turn",
}


def stats(console: Console) -> None:
    """Print the numbers of the last build, and what is missing of them. Raises OllamakeError when there was none."""
    numbers = read_numbers()
    for part in _parts(numbers):
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)
        console.print()
    for gap in numbers.gaps:
        console.print(Text(f"! {gap}", style="yellow"), soft_wrap=not console.is_terminal)
    report = "every reason with its first rows" if REPORT.exists() else "not there yet, `dvc repro prepare` writes it"
    console.print(Text(f"{REPORT}: {report}"), soft_wrap=not console.is_terminal)


def _parts(numbers: Numbers) -> Iterator[RenderableType]:
    if numbers.prepare:
        yield rows_read(numbers.prepare)
        yield from origins(numbers.prepare)
    if reasons := list(what_happened(numbers)):
        yield _table("Not taken as it is", ("what", "why", "rows"), reasons, texts=2)
    if numbers.tokenize:
        yield splits(numbers.tokenize)
    if packs := numbers.tokenize.get("train", {}).get("packs"):
        yield Text(f"Packed: {packs['rows']:,} training rows, {packs['fill']:.1%} full")
    if numbers.lengths:
        yield histogram(numbers.lengths)


def rows_read(prepare: dict[str, Any]) -> Text:
    """Return how many rows there were, and how they were dealt out."""
    kept = ", ".join(f"{count:,} {name}" for name, count in prepare["kept"].items())
    text = Text.assemble((f"{prepare['rows']:,} rows read", "bold"), f"\nkept: {kept}")
    if prepare.get("copies"):
        text.append(f" (with {prepare['copies']:,} copies, by weight)")
    text.append(f"\nnot usable: {prepare['rejected_fraction']:.2%}")
    if judged := prepare.get("judged"):
        text.append(f"\njudged answers: {', '.join(f'{count:,} {kind}' for kind, count in _most_first(judged))}")
    if (near := prepare.get("near_duplicates", {})).get("groups"):
        groups = f"{near['groups']:,} group{'' if near['groups'] == 1 else 's'} of up to {near['largest']:,}"
        text.append(f"\nnear duplicates: {near['rows']:,} rows in {groups}, each in one split")
    return text


def origins(prepare: dict[str, Any]) -> Iterator[Table]:
    """Yield a table of the sources, and one of the tasks if any were named."""
    if sources := prepare.get("sources"):
        rows = [(name, counts["rows"], counts["kept"]) for name, counts in sources.items()]
        yield _table("Sources", ("source", "rows", "kept"), rows)
    if any(tasks := prepare.get("tasks", {})):
        kept = [(name or "(none)", count) for name, count in _most_first(tasks)]
        yield _table("Tasks", ("task", "kept"), kept)


def what_happened(numbers: Numbers) -> Iterator[tuple[str, str, int]]:
    """Yield (what happened, why, to how many rows) for all that was not taken as it is, in the order of the stages."""
    for key, kind in KINDS.items():
        yield from ((kind, reason, count) for reason, count in _most_first(numbers.prepare.get(key, {})))
    alike = {
        "same prompt and answer": numbers.prepare.get("duplicates", 0),
        "nearly the same prompt, same answer": numbers.prepare.get("near_duplicates", {}).get("dropped", 0),
    }
    yield from (("duplicate", reason, count) for reason, count in alike.items() if count)
    for split, counts in numbers.tokenize.items():
        yield from ((f"dropped from {split}", reason, count) for reason, count in _most_first(counts["dropped"]))


def splits(tokenize: dict[str, Any]) -> Table:
    """Return a column for each split: its size, the share of its tokens that are trained, its lengths in tokens."""
    known = {key for counts in tokenize.values() for key in counts}
    lines = {name: key for name, key in SPLIT_LINES.items() if key in known}
    rows = [(name, *(counts.get(key, "-") for counts in tokenize.values())) for name, key in lines.items()]
    dropped = [sum(counts["dropped"].values()) for counts in tokenize.values()]
    return _table("Conversations in tokens", ("", *tokenize), [*rows, ("dropped", *dropped)])


def histogram(lengths: list[tuple[int, int]]) -> Table:
    """Return a bar for each range of lengths, in tokens."""
    bins = fewer_bins(lengths, BINS)
    highest = max(count for _, count in bins)
    rows = [(start, count, Text(bar(count / highest), style="green")) for start, count in bins]
    table = _table("Training conversations by length", ("tokens from", "rows", ""), rows, texts=0)
    table.columns[2].justify = "left"
    return table


def bar(share: float) -> str:
    """Return a bar of up to BAR_WIDTH characters, exact to an eighth of one; only nothing at all has no bar."""
    whole, eighths = divmod(max(round(share * BAR_WIDTH * 8), 1 if share else 0), 8)
    return "█" * whole + EIGHTHS[eighths]


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _table(title: str, columns: Sequence[str], rows: Sequence[Iterable[Any]], *, texts: int = 1) -> Table:
    """Return a table; all but the first `texts` columns hold numbers."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, padding=(0, 2, 0, 0)
    )
    for number, column in enumerate(columns):
        is_text = number < texts
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows[:SHOWN]:
        table.add_row(*map(_cell, row))
    if len(rows) > SHOWN:
        table.add_row(f"and {len(rows) - SHOWN} more")
    return table


def _cell(value: Any) -> str | Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, str):
        return Text(visible(value))
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"
