"""Score the untuned base model on the test conversations."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.files import atomic_folder, write_json, write_jsonl
from ollamake.scoring.items import read_items
from ollamake.stage import StageParams, run

TEST = Path("data/tokenized/test.arrow")
BASELINE, METRICS = Path("models/baseline"), Path("metrics/baseline.json")


class Params(StageParams):
    eval_batch_size: PositiveInt
    eval_max_examples: NonNegativeInt
    eval_max_new_tokens: PositiveInt
    precision: Literal["auto", "bf16", "fp32"]


def main(params: Params) -> None:
    base = open_base(RECORD)
    items = read_items(TEST, params.eval_max_examples)

    from ollamake.scoring.model import load_model  # torch loads here
    from ollamake.scoring.score import Examiner

    examiner = Examiner(base, items, params.eval_batch_size, params.eval_max_new_tokens, params.precision)
    scored = examiner.score(load_model(base.folder, params.precision), "base model")
    with atomic_folder(BASELINE) as folder:
        write_jsonl(
            folder / "predictions.jsonl",
            [
                {"id": item.id, "prediction": answer.text, "stopped": answer.stopped}
                for item, answer in zip(items, scored.answers, strict=True)
            ],
        )
        # Without the time it took, which would make evaluate run again for nothing.
        write_json(folder / "scores.json", scored.scores)
    write_json(METRICS, {**scored.scores, **scored.cost})
    print(
        f"{base.record['name']}: loss {scored.scores['loss']:.3f} nats a token, "
        f"{scored.scores['first_word_accuracy']:.0%} of {len(items)} answers begin with the right word"
    )


if __name__ == "__main__":
    run(Params, main)
