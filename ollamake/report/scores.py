"""The scores of base model, tuned model and release, the gate's verdict on them, and the judge's."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ollamake.report.charts import LENGTHS, SCORES, TASKS
from ollamake.report.document import Facts, Figures, Section
from ollamake.report.markdown import bullets, code, plain, table
from ollamake.scoring.names import figure, heading, measure

DASH = "–"
P = {"gain": "p", "lead": "lead_p"}


def scores(facts: Facts) -> Section:
    """Return the section with the verdict and every score."""
    gate = facts.gate
    explained = (
        f"On {gate['items']:,} test conversations that training has not seen, in brackets 95 % intervals. A gain is "
        "positive where the tuned model is better; a small p says that this is no chance."
    )
    rows = [
        [_label(gate, name), *(_standing(gate, model, name) for model in ("base", "tuned")), *_gain(gate, "gain", name)]
        for name in gate["tuned"]
    ]
    parts = [_verdict(facts), explained, table(["score", "base", "tuned", "gain", "p"], rows), *_release(gate)]
    return Section("Scores", "\n\n".join(parts), (SCORES, LENGTHS))


def _release(gate: Figures) -> Iterator[str]:
    """Yield how the tuned model stands against the shipped release, where there is one."""
    if "release" in gate:
        rows = [
            [_label(gate, name), _standing(gate, "release", name), *_gain(gate, "lead", name)]
            for name in gate["release"]
        ]
        yield f"Against the shipped release, on the {gate['release_items']:,} of them that both answered:"
        yield table(["score", "release", "lead", "p"], rows)


def amount(name: str, value: float, sign: str = "") -> str:
    """Return the value with its unit, for a sentence."""
    return figure(name, value, sign) + " %" * measure(name).fraction


def _verdict(facts: Facts) -> str:
    gate, asked = facts.gate, facts.settings
    name = gate["metric"]
    least, most = amount(name, asked.gate_min_gain), amount(name, asked.gate_max_regression)
    said = "passed" if gate["passed"] else "CLOSED, and nothing is shipped"
    text = (
        f"**The gate {said}.** It decides by {plain(measure(name).label)}: at least {least} better than the base model "
        f"is asked for, and at most {most} worse than the release."
    )
    return "\n\n".join([text, bullets(map(plain, [*gate["reasons"], *gate["remarks"]]))]).strip()


def _label(gate: Figures, name: str) -> str:
    label = plain(heading(name))
    return f"**{label}**" if name == gate["metric"] else label


def _standing(gate: Figures, model: str, name: str) -> str:
    if name not in gate[model]:
        return DASH
    low, high = gate["intervals"][model][name]
    return f"{figure(name, gate[model][name])} [{figure(name, low)}, {figure(name, high)}]"


def _gain(gate: Figures, kind: str, name: str) -> tuple[str, str]:
    """Return the difference with its interval, and its p; `kind` is gain or lead."""
    if name not in gate.get(kind, {}):
        return DASH, ""
    low, high = gate["intervals"][kind][name]
    # Neither more nor fewer tokens are better: there is a difference, and no gain.
    chance = f"{gate[P[kind]][name]:.4f}" if measure(name).better else ""
    return f"{figure(name, gate[kind][name], '+')} [{figure(name, low, '+')}, {figure(name, high, '+')}]", chance


def tasks(facts: Facts, path: Path) -> Iterator[Section]:
    """Yield the section with the gate's score on each task, where the rows carry tasks; `path` is the chart's data."""
    with path.open(encoding="utf-8", newline="") as stream:
        bars = list(csv.DictReader(stream))
    names = list(dict.fromkeys(bar["task"] for bar in bars))
    if len(names) < 2:  # the first is all of them
        return
    models = [model for model in ("base", "tuned", "release") if any(bar["model"] == model for bar in bars)]
    found = {(bar["task"], bar["model"]): bar["text"] for bar in bars}
    rows = [[plain(name), *(found.get((name, model), DASH) for model in models)] for name in names]
    by = plain(measure(facts.gate["metric"]).label)
    yield Section("Task by task", f"By {by}, the score of the gate.\n\n{table(['task', *models], rows)}", (TASKS,))


def judge(facts: Facts) -> Iterator[Section]:
    """Yield the section about the judge, where there is one."""
    found = facts.judge
    if found["judge_model"] == "none":
        return
    lines = [f"{found['win']:,} won, {found['tie']:,} tied and {found['loss']:,} lost by the tuned model"]
    if "score" in found:
        interval = f"{found['score_low']:.0%} to {found['score_high']:.0%}"
        lines.append(f"score {found['score']:.0%} (95 % interval {interval}; 50 % = no difference)")
    lines.append(
        f"{found['order_disagreements']:,} pairs where the order of the answers changed its mind count as ties"
    )
    text = (
        f"{code(found['judge_model'])} (digest {code(found['digest'][:12])}) compared {found['items']:,} answers of "
        "the tuned model with those of the base model, blind and in both orders."
    )
    yield Section("What a judge says", f"{text}\n\n{bullets(lines)}")
