"""Whether the tuned model is good enough to be shipped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ollamake.errors import OllamakeError, ParamsError
from ollamake.gate.comparison import PER_TOKEN, Comparison, Contest
from ollamake.scoring.names import figure, heading, measure
from ollamake.scoring.resampling import Difference

SURE = 0.05  # a larger p is called chance


class GateError(OllamakeError):
    """The tuned model is not good enough to be shipped."""


@dataclass(frozen=True)
class Bounds:
    """What is asked of the score `metric`: so much more than base, and so little less than the release."""

    metric: str
    min_gain: float
    max_regression: float


@dataclass(frozen=True)
class Verdict:
    """Why the model is not to be shipped, empty if it is; and what else there is to say."""

    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the model may be shipped."""
        return not self.reasons

    def content(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"passed": self.passed, "reasons": self.reasons, "remarks": self.remarks}


def judge(contest: Contest, comparison: Comparison, bounds: Bounds) -> Verdict:
    """Return the verdict. Raises ParamsError when there is no such score, or none that the release has as well."""
    _require_score(comparison.gain, bounds.metric)
    verdict = Verdict()
    gain = comparison.gain[bounds.metric]
    if gain.value < bounds.min_gain:
        asked = figure(bounds.metric, bounds.min_gain, "+")
        verdict.reasons.append(f"{_said('gain on base', bounds.metric, gain)}, and gate_min_gain asks for {asked}")
    elif gain.p > SURE:
        verdict.remarks.append(f"{_said('gain on base', bounds.metric, gain)}: this may be chance")
    _judge_release(contest, comparison, bounds, verdict)
    return verdict


def _judge_release(contest: Contest, comparison: Comparison, bounds: Bounds, verdict: Verdict) -> None:
    if not contest.release:
        none = "it answered none of these conversations" if contest.released_items else "there is none"
        verdict.remarks.append(f"not compared with a release: {none}")
        return
    if bounds.metric in PER_TOKEN and not contest.same_tokens:
        raise ParamsError(
            f"gate_metric is {bounds.metric}, and the release counts other tokens: it has another tokenizer",
            where="params.yaml",
            hint="`gate_metric: bits_per_byte` compares models of any tokenizer",
        )
    if bounds.metric not in comparison.lead:
        verdict.remarks.append(f"not compared with the release: its answers have no score {bounds.metric}")
        return
    lead, items = comparison.lead[bounds.metric], f"on the {len(contest.release)} conversations that both answered"
    text = f"{_said('lead on the release', bounds.metric, lead)}, {items}"
    if lead.value < -bounds.max_regression:
        allowed = figure(bounds.metric, -bounds.max_regression, "+")
        verdict.reasons.append(f"{text}; gate_max_regression allows {allowed}")
    else:
        verdict.remarks.append(text)


def _said(what: str, metric: str, found: Difference) -> str:
    value, low, high = (figure(metric, number, "+") for number in (found.value, found.low, found.high))
    return f"{what} in {heading(metric)}: {value} [{low}, {high}], p {found.p:.2g}"


def _require_score(gains: Mapping[str, Difference], metric: str) -> None:
    usable = [name for name in gains if measure(name).better]
    if metric not in usable:
        raise ParamsError(
            f"gate_metric is {metric}, which is no score of single answers here; there are {', '.join(usable)}",
            where="params.yaml",
            hint="take one of these; a metric of your own has to return a list with a number an answer",
        )


def refusal(verdict: Verdict, flips: str) -> GateError:
    """Return what stops the build."""
    return GateError(
        "the gate is closed, and nothing is shipped\n  " + "\n  ".join(verdict.reasons),
        hint=f"{flips} shows which answers got worse; train on more or other data, or longer, and `dvc repro`; "
        "gate_metric, gate_min_gain and gate_max_regression in params.yaml say what is asked",
    )
