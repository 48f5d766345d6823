"""Score the tuned model on the conversations that the base model was scored on, and set the two side by side."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.files import atomic_write, read_json, read_jsonl, write_json
from ollamake.scoring import comparison
from ollamake.scoring.items import read_items
from ollamake.stage import StageParams, run

TEST, TUNED = Path("data/tokenized/test.arrow"), Path("models/tuned")
PREDICTIONS, BASELINE = Path("models/baseline/predictions.jsonl"), Path("models/baseline/scores.json")
METRICS, SAMPLES, SCORES = Path("metrics/evaluate.json"), Path("models/samples.md"), Path("plots/evaluate/scores.csv")


class Params(StageParams):
    eval_batch_size: PositiveInt
    eval_max_examples: NonNegativeInt
    eval_max_new_tokens: PositiveInt
    eval_samples: PositiveInt
    precision: Literal["auto", "bf16", "fp32"]


def main(params: Params) -> None:
    base = open_base(RECORD)
    items = read_items(TEST, params.eval_max_examples)
    predictions = {row["id"]: row for row in read_jsonl(PREDICTIONS)}
    comparison.require_same_items(items, predictions, PREDICTIONS)

    from ollamake.scoring.samples import Reply, Sample, page
    from ollamake.scoring.score import Examiner  # torch loads here
    from ollamake.scoring.tuned import load_tuned

    examiner = Examiner(base, items, params.eval_batch_size, params.eval_max_new_tokens, params.precision)
    tuned = examiner.score(load_tuned(base, TUNED, params.precision), "tuned model")
    scores = comparison.compare(read_json(BASELINE), tuned.scores)
    samples = [
        Sample(
            item.id,
            item.prompt,
            item.reference,
            base=Reply(predictions[item.id]["prediction"], predictions[item.id]["stopped"]),
            tuned=Reply(answer.text, answer.stopped),
        )
        for item, answer in list(zip(items, tuned.answers, strict=True))[: params.eval_samples]
    ]
    with atomic_write(SAMPLES) as partial:
        partial.write_text(page(samples, base.record["name"], len(items)), encoding="utf-8")
    comparison.write_scores(SCORES, scores)
    write_json(METRICS, {**scores, **tuned.cost})
    print(comparison.table(scores))
    print(f"answers side by side: {SAMPLES}")


if __name__ == "__main__":
    run(Params, main)
