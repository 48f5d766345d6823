"""Builds side by side: everything that is compared, as a document."""

from collections.abc import Iterator, Sequence

from ollamake.compare import figures
from ollamake.compare.answers import answers
from ollamake.compare.build import Build
from ollamake.compare.code import code
from ollamake.compare.curves import curves
from ollamake.compare.data import data
from ollamake.compare.document import Document, Section
from ollamake.compare.score_tables import WORDS, difference, mark_of, scores
from ollamake.compare.scores import Pairing, Standing, deciding_metric, pair
from ollamake.scoring.names import figure, measure


def compare(builds: Sequence[Build]) -> Document:
    """Return the comparison of the builds with the first one."""
    metric = deciding_metric(builds[0])
    pairings = [pair(builds[0], build, metric) for build in builds[1:]]
    sections = [
        figures.revisions(builds),
        figures.parameters(builds),
        scores(builds, pairings),
        answers(builds, pairings, metric),
        curves(builds),
        data(builds),
        figures.base_model(builds),
        code(builds),
        figures.versions(builds),
        figures.cost(builds),
        figures.other_figures(builds),
    ]
    stale = [sentence for build in builds for sentence in build.stale()]
    remarks = list(dict.fromkeys([*stale, *(remark for build in builds for remark in build.remarks)]))
    title = f"{', '.join(build.name for build in builds[1:])} against {builds[0].name}"
    return Document(title, list(_lead(builds, pairings, sections, metric)), remarks, sections)


def _lead(
    builds: Sequence[Build], pairings: Sequence[Pairing], sections: Sequence[Section], metric: str
) -> Iterator[str]:
    before = Standing.of(builds[0])
    for build, pairing in zip(builds[1:], pairings, strict=True):
        after = Standing.of(build)
        standings = {builds[0].name: before, build.name: after}
        if without := ", ".join(name for name, found in standings.items() if metric not in found.scores):
            yield f"{build.name} against {builds[0].name}: {without} has no score {metric}"
            continue
        yield (
            f"{build.name} against {builds[0].name}: {measure(metric).label} {figure(metric, before.scores[metric])} → "
            f"{figure(metric, after.scores[metric])}{' %' * measure(metric).fraction} "
            f"({_verdict(metric, before, after, pairing)})"
        )
    differing = [section.title.partition(",")[0].lower() for section in sections[1:] if section.differs]
    yield f"What differs: {', '.join(differing)}" if differing else "Nothing differs"


def _verdict(metric: str, before: Standing, after: Standing, pairing: Pairing) -> str:
    """Return difference, p and what they mean; of differing test sets, those of what both answered."""
    change, *_ = difference(metric, before, after, pairing)
    on = f" on the {pairing.shared:,} that both answered" if pairing.shared and pairing.differing else ""
    p = f"p {pairing.gain[metric].p:.2g}" if metric in pairing.gain else "not paired"
    word = WORDS[mark_of(metric, before, after, pairing)]
    return f"{change.text}{on}, {p}{f': {word}' if word else ''}"
