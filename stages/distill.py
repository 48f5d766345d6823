"""Put a teacher's answers in the place of the data's own: sequence-level knowledge distillation (Kim and Rush 2016)."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ollamake.base import store
from ollamake.errors import ServerError
from ollamake.files import atomic_folder, write_json
from ollamake.ollama.address import server_address, why_silent
from ollamake.ollama.names import ModelName
from ollamake.stage import StageParams, run

if TYPE_CHECKING:
    from ollamake.distill.teacher import TeacherServer

PREPARED, DISTILLED, METRICS = Path("data/prepared"), Path("data/distilled"), Path("metrics/distill.json")
# Not test: the scores compare with references of its own.
SPLITS = ("train", "val")
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
        pass_on()
        write_json(METRICS, {"teacher": NO_TEACHER})
        print("no teacher: every answer is the data's own")
        return
    address = server_address()
    if why := why_silent(address):
        raise ServerError(
            f"no Ollama server ({why}), so teacher {params.teacher} cannot be asked",
            where=address.url,
            hint=f"start it (`ollama serve`), `ollama pull {params.teacher}`, then `dvc repro`; "
            "or `teacher: none` in params.yaml",
        )
    from ollamake.distill.teacher import TeacherServer  # httpx loads here

    with TeacherServer(address) as server:
        write_json(METRICS, learn(params, server))


def pass_on() -> None:
    """Give the prepared files a second name; where the disk cannot do that, a copy."""
    with atomic_folder(DISTILLED) as folder:
        for name in SPLITS:
            source = PREPARED / f"{name}.jsonl"
            try:
                os.link(source.resolve(), folder / source.name)
            except OSError:
                shutil.copyfile(source, folder / source.name)


def learn(params: Params, server: "TeacherServer") -> dict[str, Any]:
    """Write the rows with the teacher's answers; return the metrics. Raises ServerError or DataError."""
    from ollamake.distill.answers import Answers
    from ollamake.distill.lesson import Lesson
    from ollamake.distill.session import sit
    from ollamake.distill.tally import metrics_of

    options = {
        "temperature": params.teacher_temperature,
        "seed": params.teacher_seed,
        "num_predict": params.teacher_max_new_tokens,
        "num_ctx": params.teacher_num_ctx,
    }
    teacher, version = server.find(params.teacher, options)
    splits = {name: PREPARED / f"{name}.jsonl" for name in SPLITS}
    with Answers(store() / "teacher" / teacher.key, asdict(teacher)) as answers:
        lesson = Lesson(splits, params.system_prompt, answers, params.max_rejected_fraction)
        sit(server, teacher, version, lesson, params.teacher_parallel)
        with atomic_folder(DISTILLED) as folder:
            tallies = lesson.write(folder)
    for name, tally in tallies.items():
        print("\n".join([f"{name}: {tally.answered} of {tally.rows} rows answered by {teacher.name}", *tally.lines()]))
    return metrics_of(teacher, tallies)


if __name__ == "__main__":
    run(Params, main)
