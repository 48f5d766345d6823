"""One sitting with a model: what it said is kept when the sitting is broken off, unless somebody else said it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ollamake.asking.answers import Answers
from ollamake.asking.model import Model
from ollamake.asking.server import ModelServer
from ollamake.errors import ServerError


@contextmanager
def sitting(server: ModelServer, model: Model, answers: Answers) -> Iterator[None]:
    """Watch over the asking of `model`: inside, its answers are added to `answers`.

    Raises ServerError, and forgets those answers, when another model has its name at the end.
    """
    role, before = server.role, answers.end()
    try:
        yield
    except (ServerError, KeyboardInterrupt):
        answers.reread()  # Ctrl-C may come between an answer's write and its entry in memory
        print(f"{len(answers)} {role.replies} are kept; `{role.command}` asks for the others only", file=sys.stderr)
        raise
    if server.digest(model.full_name) != model.digest:
        answers.forget_from(before)
        raise ServerError(
            f"{model.name} was replaced while it {role.did}, so what it said is not kept",
            where=server.url,
            hint=f"`{role.command}` asks the model that has the name now",
        )
