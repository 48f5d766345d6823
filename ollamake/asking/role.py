"""What a model in an Ollama server is asked as, in the words of the messages about it.

Nothing of the network loads here: a build without a teacher and without a judge never asks anybody.
"""

from dataclasses import dataclass

from ollamake.errors import ServerError
from ollamake.ollama.address import Address, server_address, why_silent


@dataclass(frozen=True)
class Role:
    """A role: `parameter` names the model in params.yaml, `command` asks it again, `did` is what it did meanwhile."""

    title: str
    parameter: str
    command: str
    replies: str
    did: str

    def address(self, model: str) -> Address:
        """Return where the server is. Raises ServerError when nothing listens there."""
        then = f"`ollama pull {model}`, then `{self.command}`; or `{self.parameter}: none` in params.yaml"
        return reach(f"{self.title} {model}", then)


def reach(who: str, then: str) -> Address:
    """Return where the server is. Raises ServerError when nothing listens there; `then` is what to do once it does."""
    address = server_address()
    if why := why_silent(address):
        raise ServerError(
            f"no Ollama server ({why}), so {who} cannot be asked",
            where=address.url,
            hint=f"start it (`ollama serve`), {then}",
        )
    return address


TEACHER = Role("teacher", "teacher", command="dvc repro", replies="answers", did="answered")
JUDGE = Role("judge", "judge_model", command="dvc repro judge", replies="rulings", did="judged")
