"""The section of the answers: side by side, those that changed most first."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from ollamake.compare.build import Build
from ollamake.compare.document import Answer, Conversation, Section
from ollamake.compare.outputs import NotAtHandError
from ollamake.compare.scores import Pairing
from ollamake.compare.table import direction
from ollamake.gate.flips import value_of
from ollamake.scoring.names import figure, measure

CUT_OFF = " ✂"
PIECES = re.compile(r"\s+|\w+|[^\w\s]")


def answers(builds: Sequence[Build], pairings: Sequence[Pairing], metric: str) -> Section:
    """Return every conversation whose answer has another score than in the reference build."""
    change: dict[str, float] = {}
    for pairing in pairings:
        for flip in pairing.flipped:
            change[flip.id] = max(change.get(flip.id, 0.0), abs(flip.change))
    notes = [
        _count(build, builds[0], pairing, metric)
        for build, pairing in zip(builds[1:], pairings, strict=True)
        if pairing.shared
    ]
    order = sorted(change, key=lambda item: (-change[item], item))
    texts, missing = _texts(builds) if order else ({}, "")
    found = [_conversation(item, builds, texts.get(item, ("", "")), metric) for item in order]
    title = f"Answers that changed, by {measure(metric).label}"
    paired = any(pairing.shared for pairing in pairings)
    if any(answer.text.endswith(CUT_OFF) for conversation in found for answer in conversation.answers):
        notes.append("✂ was cut off at eval_max_new_tokens")
    same = "no answer changed" if paired else "no answers can be set side by side"
    return Section(title, (), [*notes, *filter(None, [missing])], found, same=same)


def _count(build: Build, reference: Build, pairing: Pairing, metric: str) -> str:
    better = sum(flip.change > 0 for flip in pairing.flipped)
    worse = sum(flip.change < 0 for flip in pairing.flipped)
    same = pairing.shared - better - worse
    return (
        f"{build.name} against {reference.name}, of {pairing.shared:,} answers by {measure(metric).label}: "
        f"{better} better, {worse} worse, {same} as good; "
        f"{pairing.exact_gained} became exactly right, {pairing.exact_lost} ceased to be"
    )


def _texts(builds: Sequence[Build]) -> tuple[Mapping[str, tuple[str, str]], str]:
    """Return prompt and reference by id from all builds that have them; and why none has."""
    found: dict[str, tuple[str, str]] = {}
    missing = []
    for build in builds:
        try:
            found = build.prompts() | found
        except NotAtHandError as failure:
            missing.append(str(failure))
    return found, "" if found else f"prompts are not shown: {missing[0]}"


def _conversation(item: str, builds: Sequence[Build], texts: tuple[str, str], metric: str) -> Conversation:
    prompt, reference = texts
    answered = [build for build in builds if item in build.items]
    return Conversation(item, prompt, reference, list(_answers(item, answered, metric)))


def _answers(item: str, builds: Sequence[Build], metric: str) -> Iterator[Answer]:
    before = builds[0].items[item]
    first = value_of(before, metric)
    for build in builds:
        row = build.items[item]
        value = value_of(row, metric)
        text = row["prediction"].strip()
        mark = direction(value - first, measure(metric).better)
        end = "" if row["stopped"] else CUT_OFF
        changes = [*words(before["prediction"].strip(), text), *[(end, False)] * bool(end)]
        yield Answer(build.name, text + end, figure(metric, value), mark, changes)


def words(before: str, after: str) -> list[tuple[str, bool]]:
    """Return the pieces of `after`, each with whether `before` does not have it there."""
    old, new = PIECES.findall(before), PIECES.findall(after)
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [("".join(new[start:end]), step != "equal") for step, _, _, start, end in steps if start < end]
