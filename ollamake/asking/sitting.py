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

    Raises ServerError, and forgets those answers, when another model has its name at the end. When the asking is
    broken off, they are forgotten just so, and the error of that is raised.
    """
    role, before = server.role, answers.end()
    try:
        yield
    except BaseException:
        answers.reread()  # Ctrl-C may come between an answer's write and its entry in memory
        _keep_own(server, model, answers, before)
        print(f"{len(answers)} {role.replies} are kept; `{role.command}` asks for the others only", file=sys.stderr)
        raise
    if server.digest(model.full_name) != model.digest:
        answers.forget_from(before)
        raise ServerError(
            _replaced(server, model),
            where=server.url,
            hint=f"`{role.command}` asks the model that has the name now",
        )


def _keep_own(server: ModelServer, model: Model, answers: Answers, before: int) -> None:
    """Forget what was added since `before` if another model has the name now; say so, or that nobody can tell."""
    if answers.end() == before:
        return
    try:
        digest = server.digest_at_once(model.full_name)
    except ServerError:
        digest = None
    if digest is None:
        print(f"{server.url} does not tell whether {model.name} is still the model that was asked", file=sys.stderr)
    elif digest != model.digest:
        answers.forget_from(before)
        print(_replaced(server, model), file=sys.stderr)


def _replaced(server: ModelServer, model: Model) -> str:
    return f"{model.name} was replaced while it {server.role.did}, so what it said is not kept"
