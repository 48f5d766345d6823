"""Put a teacher's answers in the place of the data's own: sequence-level knowledge distillation (Kim and Rush 2016)."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ollamake.asking.role import TEACHER
from ollamake.distill.passing import pass_on
from ollamake.files import atomic_folder, write_json
from ollamake.ollama.address import Address
from ollamake.ollama.names import ModelName
from ollamake.stage import StageParams, run

PREPARED, DISTILLED, METRICS = Path("data/prepared"), Path("data/distilled"), Path("metrics/distill.json")
# Not test: the scores compare with references of its own.
SPLITS = {name: PREPARED / f"{name}.jsonl" for name in ("train", "val")}
NO_TEACHER = "none"


class Params(StageParams):
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    system_prompt: str
    teacher: ModelName
    teacher_max_new_tokens: PositiveInt
    teacher_num_ctx: PositiveInt
    teacher_parallel: Annotated[int, Field(ge=1, le=64)]
    teacher_seed: NonNegativeInt
    teacher_temperature: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _leaves_room_for_the_prompt(self) -> "Params":
        if self.teacher_max_new_tokens >= self.teacher_num_ctx:
            raise ValueError("teacher_max_new_tokens must be below teacher_num_ctx: the prompt needs room, too")
        return self


def main(params: Params) -> None:
    if params.teacher == NO_TEACHER:
        pass_on(SPLITS.values(), DISTILLED)
        write_json(METRICS, {"teacher": NO_TEACHER})
        print("no teacher: every answer is the data's own")
    else:
        write_json(METRICS, learn(params, TEACHER.address(params.teacher)))


def learn(params: Params, address: Address) -> dict[str, Any]:
    """Write the rows with the teacher's answers; return the metrics. Raises ServerError or DataError."""
    from ollamake.asking.answers import Answers
    from ollamake.asking.sitting import sitting
    from ollamake.distill.lesson import Lesson
    from ollamake.distill.tally import metrics_of
    from ollamake.distill.teacher import TeacherServer  # httpx loads here

    options = {
        "temperature": params.teacher_temperature,
        "seed": params.teacher_seed,
        "num_predict": params.teacher_max_new_tokens,
        "num_ctx": params.teacher_num_ctx,
    }
    with TeacherServer(address) as server:
        teacher, version = server.find(params.teacher, options)
        ask = partial(server.answer, teacher, version=version)
        with Answers.of(teacher, TEACHER) as answers:
            lesson = Lesson(SPLITS, params.system_prompt, answers, params.max_rejected_fraction)
            with sitting(server, teacher, answers):
                lesson.ask(ask, params.teacher_parallel, f"answers of {teacher.name}")
            with atomic_folder(DISTILLED) as folder:
                tallies = lesson.write(folder)
    for name, tally in tallies.items():
        print("\n".join([f"{name}: {tally.answered} of {tally.rows} rows answered by {teacher.name}", *tally.lines()]))
    return metrics_of(teacher, tallies)


if __name__ == "__main__":
    run(Params, main)
