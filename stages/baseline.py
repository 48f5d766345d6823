"""Score the untuned base model on the test conversations."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.files import write_json
from ollamake.scoring.items import read_items
from ollamake.scoring.own import OwnFile, open_metric
from ollamake.stage import StageParams, run

TEST = Path("data/tokenized/test.arrow")
BASELINE, METRICS = Path("models/baseline"), Path("metrics/baseline.json")


class Params(StageParams):
    eval_batch_size: PositiveInt
    eval_max_examples: NonNegativeInt
    eval_max_new_tokens: PositiveInt
    eval_metric: OwnFile
    precision: Literal["auto", "bf16", "fp32"]


def main(params: Params) -> None:
    base = open_base(RECORD)
    items = read_items(TEST, params.eval_max_examples)
    own = open_metric(params.eval_metric)

    from ollamake.scoring.model import load_model  # torch loads here
    from ollamake.scoring.results import metrics, results, write_results
    from ollamake.scoring.score import Examiner

    examiner = Examiner(base, items, params.eval_batch_size, params.eval_max_new_tokens, params.precision, own)
    scored = examiner.score(load_model(base.folder, params.precision), "base model")
    found = results(scored)
    write_results(BASELINE, scored.rows, found)
    write_json(METRICS, metrics(found, scored.cost))
    print(
        f"{base.record['name']}: loss {found['scores']['loss']:.3f} nats a token, "
        f"{found['scores']['first_word_accuracy']:.0%} of {len(items)} answers begin with the right word"
    )


if __name__ == "__main__":
    run(Params, main)
