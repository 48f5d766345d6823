"""Have a model in Ollama compare the tuned model's answers with the base model's, if there is a judge."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ollamake.asking.role import JUDGE
from ollamake.files import atomic_write, write_json
from ollamake.judge.page import NOBODY
from ollamake.ollama.address import Address
from ollamake.ollama.names import ModelName
from ollamake.stage import StageParams, run

TEST = Path("data/tokenized/test.arrow")
BASE, TUNED = Path("models/baseline/items.jsonl"), Path("models/evaluated/items.jsonl")
PAGE, METRICS = Path("models/judge.md"), Path("metrics/judge.json")
NO_JUDGE = "none"


class Params(StageParams):
    judge_criteria: Annotated[str, Field(min_length=1)]
    judge_max_examples: NonNegativeInt
    judge_max_new_tokens: PositiveInt
    judge_model: ModelName
    judge_num_ctx: PositiveInt
    judge_parallel: Annotated[int, Field(ge=1, le=64)]
    judge_seed: NonNegativeInt
    system_prompt: str

    @model_validator(mode="after")
    def _leaves_room_for_the_question(self) -> "Params":
        if self.judge_max_new_tokens >= self.judge_num_ctx:
            raise ValueError("judge_max_new_tokens must be below judge_num_ctx: the question needs room, too")
        return self


def main(params: Params) -> None:
    if params.judge_model == NO_JUDGE:
        write(NOBODY, {"judge_model": NO_JUDGE})
        print("no judge: judge_model is none")
    else:
        compare(params, JUDGE.address(params.judge_model))


def compare(params: Params, address: Address) -> None:
    """Put every pair to the judge; write the page and the metrics. Raises ServerError or DataError."""
    from ollamake.asking.answers import Answers
    from ollamake.judge.page import page, summary_line
    from ollamake.judge.pairs import read_pairs
    from ollamake.judge.server import LIKELIEST, JudgeServer  # httpx loads here
    from ollamake.judge.session import Session
    from ollamake.judge.verdicts import metrics_of

    room = {"num_predict": params.judge_max_new_tokens, "num_ctx": params.judge_num_ctx}
    pairs = read_pairs(TEST, BASE, TUNED, params.judge_max_examples)
    with JudgeServer(address) as server:
        judge, version = server.find(params.judge_model, {**LIKELIEST, "seed": params.judge_seed, **room})
        with Answers.of(judge, JUDGE) as answers:
            session = Session(server, judge, version, answers, params.judge_parallel)
            verdicts = session.rule(pairs, params.judge_criteria, params.system_prompt)
    metrics = metrics_of(judge, version, verdicts)
    write(page(verdicts, metrics), metrics)
    print(f"{judge.name}, {summary_line(metrics)}\nexamples: {PAGE}")


def write(text: str, metrics: dict[str, Any]) -> None:
    """Write the page and the metrics."""
    with atomic_write(PAGE) as partial:
        partial.write_text(text, encoding="utf-8")
    write_json(METRICS, metrics)


if __name__ == "__main__":
    run(Params, main)
