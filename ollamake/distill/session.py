"""One sitting with the teacher: what it said is kept when the sitting is broken off, unless somebody else said it."""

import sys
from functools import partial

from ollamake.distill.lesson import Lesson
from ollamake.distill.teacher import Teacher, TeacherServer
from ollamake.errors import ServerError


def sit(server: TeacherServer, teacher: Teacher, version: str, lesson: Lesson, parallel: int) -> None:
    """Have the teacher answer what is missing. Raises ServerError when it cannot, DataError when too much is no use."""
    answers = lesson.answers
    before = answers.end()
    try:
        lesson.ask(partial(server.answer, teacher, version=version), parallel, f"answers of {teacher.name}")
    except (ServerError, KeyboardInterrupt):
        answers.reread()  # Ctrl-C may come between an answer's write and its entry in memory
        print(f"{len(answers)} answers are kept; `dvc repro` asks for the others only", file=sys.stderr)
        raise
    if server.digest(teacher.full_name) != teacher.digest:
        answers.forget_from(before)
        raise ServerError(
            f"{teacher.name} was replaced while it answered, so what it said is not kept",
            where=server.url,
            hint="`dvc repro` asks the model that has the name now",
        )
