"""Let a tuned model pass that is better than its base and no worse than the shipped release, and no other."""

from pathlib import Path

from pydantic import NonNegativeFloat, model_validator

from ollamake.files import atomic_write, write_json
from ollamake.gate import charts, flips
from ollamake.gate.comparison import by_task, compare, read_contest
from ollamake.gate.table import table
from ollamake.gate.verdict import Bounds, judge, refusal
from ollamake.scoring.items import read_items
from ollamake.scoring.names import MEASURES
from ollamake.stage import StageParams, run

TEST, SHIPPED = Path("data/tokenized/test.arrow"), Path("releases/shipped.jsonl")
BASELINE, EVALUATED = Path("models/baseline"), Path("models/evaluated")
METRICS, FLIPS = Path("metrics/gate.json"), Path("models/flips.md")
SCORES, TASKS = Path("plots/gate/scores.csv"), Path("plots/gate/tasks.csv")


class Params(StageParams):
    eval_metric: str
    gate_max_regression: NonNegativeFloat
    gate_metric: str
    gate_min_gain: float

    @model_validator(mode="after")
    def _knows_the_score(self) -> "Params":
        usable = [name for name, measure in MEASURES.items() if measure.better]
        if self.gate_metric not in usable and (self.gate_metric in MEASURES or self.eval_metric == "none"):
            raise ValueError(f"gate_metric must be one of {', '.join(usable)}, or a score of your own metric")
        return self


def main(params: Params) -> None:
    contest = read_contest(BASELINE / "items.jsonl", EVALUATED / "items.jsonl", SHIPPED)
    comparison = compare(contest)
    bounds = Bounds(params.gate_metric, params.gate_min_gain, params.gate_max_regression)
    verdict = judge(contest, comparison, bounds)
    tasks = by_task(contest, bounds.metric)
    # Written in both cases: DVC leaves the files of a failed stage where they are, so that they can be looked at.
    charts.write_scores(SCORES, comparison.standings)
    charts.write_tasks(TASKS, tasks, bounds.metric)
    items = {item.id: item for item in read_items(TEST, 0)}
    with atomic_write(FLIPS) as partial:
        partial.write_text(flips.page(contest, bounds.metric, items), encoding="utf-8")
    write_json(METRICS, verdict.content() | {"metric": bounds.metric} | comparison.content())
    print(table(comparison, bounds.metric))
    print("\n".join(verdict.remarks))
    if not verdict.passed:
        raise refusal(verdict, str(FLIPS))
    print(f"the gate is open; what got better and worse: {FLIPS}")


if __name__ == "__main__":
    run(Params, main)
