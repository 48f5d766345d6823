"""Score the tuned model on the conversations that the base model was scored on, and show answers side by side."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.files import atomic_write, read_jsonl, write_json
from ollamake.scoring.items import read_items, require_same_items
from ollamake.scoring.own import OwnFile, open_metric
from ollamake.stage import StageParams, run

TEST, TUNED = Path("data/tokenized/test.arrow"), Path("models/tuned")
BASELINE, EVALUATED = Path("models/baseline"), Path("models/evaluated")
METRICS, SAMPLES, LENGTHS = Path("metrics/evaluate.json"), Path("models/samples.md"), Path("plots/evaluate/lengths.csv")


class Params(StageParams):
    eval_batch_size: PositiveInt
    eval_max_examples: NonNegativeInt
    eval_max_new_tokens: PositiveInt
    eval_metric: OwnFile
    eval_samples: PositiveInt
    precision: Literal["auto", "bf16", "fp32"]


def main(params: Params) -> None:
    base = open_base(RECORD)
    items = read_items(TEST, params.eval_max_examples)
    untuned = read_jsonl(BASELINE / "items.jsonl")
    require_same_items([item.id for item in items], [row["id"] for row in untuned], BASELINE / "items.jsonl")
    own = open_metric(params.eval_metric)

    from ollamake.scoring.lengths import write_lengths
    from ollamake.scoring.results import metrics, results, write_results
    from ollamake.scoring.samples import Reply, Sample, page
    from ollamake.scoring.score import Examiner  # torch loads here
    from ollamake.scoring.tuned import load_tuned

    examiner = Examiner(base, items, params.eval_batch_size, params.eval_max_new_tokens, params.precision, own)
    tuned = examiner.score(load_tuned(base, TUNED, params.precision), "tuned model")
    found = results(tuned)
    write_results(EVALUATED, tuned.rows, found)
    samples = [
        Sample(item.id, item.prompt, item.reference, *(Reply(row["prediction"], row["stopped"]) for row in rows))
        for item, *rows in list(zip(items, untuned, tuned.rows, strict=True))[: params.eval_samples]
    ]
    with atomic_write(SAMPLES) as partial:
        partial.write_text(page(samples, base.record["name"], len(items)), encoding="utf-8")
    write_lengths(LENGTHS, {"base": untuned, "tuned": tuned.rows})
    write_json(METRICS, metrics(found, tuned.cost))
    print(f"tuned: loss {found['scores']['loss']:.3f} nats a token, ROUGE-L {found['scores']['rouge_l']:.1%}")
    print(f"answers side by side: {SAMPLES}")


if __name__ == "__main__":
    run(Params, main)
