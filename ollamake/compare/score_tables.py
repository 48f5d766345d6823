"""The section of the scores: side by side, how sure each difference is, and what that rests on."""

from collections.abc import Sequence

from ollamake.compare.build import Build
from ollamake.compare.document import Section
from ollamake.compare.figures import names
from ollamake.compare.scores import Pairing, Standing
from ollamake.compare.table import ABSENT, Cell, Line, Mark, Table, direction, of_builds
from ollamake.gate.verdict import SURE
from ollamake.scoring.names import figure, heading, measure

LEGEND = f"▲ better, ▼ worse, ≈ may be chance (p > {SURE}; where nothing is paired: the 95 % intervals overlap)"
WORDS = {Mark.BETTER: "better", Mark.WORSE: "worse", Mark.CHANCE: "chance?", Mark.NONE: ""}


def scores(builds: Sequence[Build], pairings: Sequence[Pairing]) -> Section:
    """Return the scores with their intervals, and each difference where answers can be paired."""
    standings = [Standing.of(build) for build in builds]
    details = [
        _detail(builds[0], build, (standings[0], standing), pairing, is_detail=len(builds) > 2)
        for build, standing, pairing in zip(builds[1:], standings[1:], pairings, strict=True)
    ]
    tables = details if len(details) == 1 else [_overview(builds, standings, pairings), *details]
    notes = [_paired(builds[0], build, pairing) for build, pairing in zip(builds[1:], pairings, strict=True)]
    marked = any(cell.mark for table in tables for line in table.lines for cell in line.cells)
    title = "Scores of the tuned model, ± half the 95 % interval"
    return Section(title, tables, [*notes, *[LEGEND] * marked], same="no score differs")


def _overview(builds: Sequence[Build], standings: Sequence[Standing], pairings: Sequence[Pairing]) -> Table:
    lines = []
    for name in dict.fromkeys(name for standing in standings for name in standing.scores):
        cells = [Cell(_value(name, standings[0]))]
        for standing, pairing in zip(standings[1:], pairings, strict=True):
            cells.append(Cell(_value(name, standing), mark_of(name, standings[0], standing, pairing)))
        lines.append(Line(heading(name), cells, differs=len({standing.scores.get(name) for standing in standings}) > 1))
    return of_builds(names(builds), lines)


def _detail(
    reference: Build, build: Build, standings: tuple[Standing, Standing], pairing: Pairing, *, is_detail: bool
) -> Table:
    lines, (before, after) = [], standings
    for name in dict.fromkeys([*before.scores, *after.scores]):
        mark = mark_of(name, before, after, pairing)
        cells = [Cell(_value(name, before)), Cell(_value(name, after)), *difference(name, before, after, pairing)]
        lines.append(
            Line(heading(name), [*cells, Cell(WORDS[mark], mark)], before.scores.get(name) != after.scores.get(name))
        )
    head = ["", reference.name, build.name, "difference", "95 %", "p", ""]
    return Table(head, lines, f"{build.name} against {reference.name}", detail=is_detail)


def difference(name: str, before: Standing, after: Standing, pairing: Pairing) -> list[Cell]:
    """Return difference, its interval and p; the difference alone where nothing is paired."""
    if found := pairing.gain.get(name):
        # The gate counts a gain, which is positive where lower is better, too; here the numbers are subtracted.
        value, low, high = (found.value, found.low, found.high)
        if measure(name).better < 0:
            value, low, high = -value, -high, -low
        interval = f"{figure(name, low, '+')} to {figure(name, high, '+')}"
        return [Cell(figure(name, value, "+")), Cell(interval), Cell(f"{found.p:.4f}")]
    if name in before.scores and name in after.scores:
        return [Cell(figure(name, after.scores[name] - before.scores[name], "+")), Cell(ABSENT), Cell(ABSENT)]
    return [Cell(ABSENT)] * 3


def mark_of(name: str, before: Standing, after: Standing, pairing: Pairing) -> Mark:
    """Return whether the score became better or worse; CHANCE where that may be chance, NONE where nobody can tell."""
    if name not in before.scores or name not in after.scores or not measure(name).better:
        return Mark.NONE
    towards = direction(after.scores[name] - before.scores[name], measure(name).better)
    if name in pairing.gain:
        return Mark.CHANCE if towards and pairing.is_chance(name) else towards
    if name not in before.intervals or name not in after.intervals:
        return Mark.NONE
    (low, high), (other_low, other_high) = before.intervals[name], after.intervals[name]
    return Mark.CHANCE if towards and low <= other_high and other_low <= high else towards


def _value(name: str, standing: Standing) -> str:
    if name not in standing.scores:
        return ABSENT
    text = figure(name, standing.scores[name])
    if name not in standing.intervals:
        return text
    low, high = standing.intervals[name]
    return f"{text} ±{figure(name, (high - low) / 2)}"


def _paired(reference: Build, build: Build, pairing: Pairing) -> str:
    """Return what the differences rest on."""
    against = f"{build.name} against {reference.name}"
    if pairing.why_not:
        return f"{against}: {pairing.why_not}"
    both = f"the {pairing.shared:,} conversations that both answered, paired one by one"
    if not pairing.differing:
        return f"{against}: {both}"
    sizes = " and ".join(f"{len(one.items):,}" for one in (reference, build))
    return (
        f"{against}: the test sets differ ({sizes} conversations). Differences, intervals and p are those of {both}; "
        "the scores beside them are of all that each answered"
    )
