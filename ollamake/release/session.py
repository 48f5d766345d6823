"""What every command that speaks to the server needs: one at a time, a server that answers, hints that fit."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ollamake.base import store
from ollamake.errors import ServerError
from ollamake.ollama.address import server_address, why_silent
from ollamake.ollama.refusals import AGAIN
from ollamake.release.channels import TagServer
from ollamake.release.errors import ReleaseError


@contextmanager
def reading() -> Iterator[TagServer]:
    """Yield the server of OLLAMA_HOST. Raises ReleaseError where none answers, ServerError with hints that fit."""
    address = server_address()
    if why := why_silent(address):
        raise ReleaseError(
            f"no Ollama server there ({why})", where=address.url, hint="`ollama serve`, or set OLLAMA_HOST"
        )
    from ollamake.ollama.http_server import HttpServer  # httpx loads here

    with HttpServer(address) as server:
        try:
            yield server
        except ServerError as error:  # its hints are those of export
            hint = error.hint.replace(AGAIN, "then run this command again")
            raise ServerError(error.problem, where=error.where, hint=hint) from error


@contextmanager
def changing() -> Iterator[TagServer]:
    """Yield the server to one command of this workspace at a time; raises as `reading` does."""
    with _alone(), reading() as server:
        yield server


@contextmanager
def _alone() -> Iterator[None]:
    store().mkdir(exist_ok=True)
    try:
        with FileLock(store() / "release.lock", timeout=0):
            yield
    except Timeout as error:
        raise ReleaseError("another release command is at work here", hint="wait until it has ended") from error
