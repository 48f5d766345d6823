"""From rulings to verdicts: an answer wins only when it is the better one in both orders."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ollamake.asking.answers import Answer, Refusal
from ollamake.asking.model import Model
from ollamake.judge.pairs import Pair
from ollamake.judge.question import Question, Ruling

Outcome = Literal["win", "tie", "loss", "unjudged"]

Z = 1.96  # 95 %
POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}


@dataclass(frozen=True)
class Verdict:
    """A pair and the rulings on it, the one with the tuned answer first and the other; none for equal answers.

    `fault` says why there is no verdict, where there is none.
    """

    pair: Pair
    rulings: tuple[Ruling, ...] = ()
    fault: str = ""

    @property
    def outcome(self) -> Outcome:
        """What it is for the tuned model; a tie where the judge contradicts itself."""
        if self.fault:
            return "unjudged"
        sides = {ruling.side for ruling in self.rulings}
        return "win" if sides == {"tuned"} else "loss" if sides == {"base"} else "tie"

    @property
    def disagrees(self) -> bool:
        """Tell whether the order of the answers changed the ruling."""
        return len({ruling.side for ruling in self.rulings}) > 1


def verdict(pair: Pair, questions: Sequence[Question], replies: Sequence[Answer | Refusal]) -> Verdict:
    """Return the verdict on a pair from the replies to its questions."""
    rulings = []
    for question, reply in zip(questions, replies, strict=True):
        ruling = question.read(reply.text) if isinstance(reply, Answer) and reply.done_reason == "stop" else None
        if ruling is None:
            return Verdict(pair, fault=_fault(reply))
        rulings.append(ruling)
    return Verdict(pair, tuple(rulings))


def metrics_of(judge: Model, version: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the content of metrics/judge.json: who judged, how it was asked, and what it came to."""
    about = {"judge_model": judge.name, "digest": judge.digest, "server_version": version, "options": judge.options}
    return {**about, **summarize(verdicts)}


def summarize(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return counts, and `score`: the share of the judged pairs that the tuned model won, a tie as one half.

    Its 95 % interval is Wilson's (1927), which stays within 0 and 1 and is not empty when all pairs end alike; with
    ties it is somewhat too wide. `first_place_share` is 0.5 for a judge that does not look at places.
    """
    outcomes = Counter[str](verdict.outcome for verdict in verdicts)
    judged = [verdict for verdict in verdicts if verdict.outcome != "unjudged"]
    places = Counter(ruling.place for verdict in judged for ruling in verdict.rulings)
    counts: dict[str, Any] = {"items": len(verdicts), **{key: outcomes[key] for key in POINTS}}
    counts["same_answer"] = sum(not verdict.rulings for verdict in judged)
    counts["order_disagreements"] = sum(verdict.disagrees for verdict in judged)
    counts["unjudged"] = dict(sorted(Counter(verdict.fault for verdict in verdicts if verdict.fault).items()))
    if chosen := places["first"] + places["second"]:
        counts["first_place_share"] = round(places["first"] / chosen, 6)
    if judged:
        score = sum(POINTS[verdict.outcome] for verdict in judged) / len(judged)
        low, high = wilson(score, len(judged))
        counts |= {"score": round(score, 6), "score_low": round(low, 6), "score_high": round(high, 6)}
    return counts


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share among `count`."""
    center = share + Z * Z / (2 * count)
    margin = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return max(0.0, (center - margin) / scale), min(1.0, (center + margin) / scale)


def _fault(reply: Answer | Refusal) -> str:
    if isinstance(reply, Refusal):
        return reply.reason
    if reply.done_reason == "stop":
        return "is not in the form that was asked for"
    return "did not end within judge_max_new_tokens" if reply.done_reason == "length" else reply.done_reason
