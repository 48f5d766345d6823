"""The Ollama server, the models that a build asks it for, and the ports that commands listen on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named, warning
from ollamake.doctor.subject import Subject
from ollamake.ollama.address import server_address, why_silent
from ollamake.ollama.connection import Connection
from ollamake.ollama.names import listed_name
from ollamake.ollama.retry import InterruptedRequestError
from ollamake.ollama.version import require_version

LOCAL = "127.0.0.1"
DASHBOARD_PORT, STUDIES_PORT, TRAINING_PORT = 8080, 13000, 29500
ASKED = {"teacher": "distill", "judge_model": "judge"}


def ollama(_: Subject) -> Verdict:
    """Look for a server at OLLAMA_HOST, and at its version."""
    address = server_address()
    if why := why_silent(address):
        return warning(
            f"no server at {address.url} ({why}); a build keeps the model without serving it",
            "`ollama serve` (https://ollama.com/download), or set OLLAMA_HOST; then `dvc repro export`",
        )
    with _connection() as server:
        return fine(f"version {require_version(server)} at {address.url}")


def asked_models(subject: Subject) -> Verdict:
    """Look whether the server has the models that teach and judge."""
    wanted = {key: subject.content[key] for key in ASKED if subject.content[key] != "none"}
    if not wanted:
        raise SkippedError("params.yaml names neither a teacher nor a judge")
    told = ", ".join(f"{key}: {name}" for key, name in wanted.items())
    address = server_address()
    if why := why_silent(address):
        return failure(f"{told}, and no server answers at {address.url} ({why})", "`ollama serve`, or set OLLAMA_HOST")
    with _connection() as server:
        held = {name.lower() for name in server.digests()}
    if missing := [name for name in wanted.values() if listed_name(name).lower() not in held]:
        return failure(f"{told}; the server has no {named(missing)}", f"`ollama pull {missing[0]}`")
    return fine(f"{told}: the server has {'both' if len(wanted) > 1 else 'it'}")


def ports(subject: Subject) -> Verdict:
    """Look whether the ports that commands listen on are free, or who has them."""
    listening = {
        DASHBOARD_PORT: ("the dashboard of sweeps", "`python -m ollamake sweep dashboard --port 8081`"),
        STUDIES_PORT: ("a sweep on several machines", "`python -m ollamake sweep serve --port 13001`"),
    }
    if subject.settings.num_nodes > 1:
        listening[TRAINING_PORT] = ("training on several machines", "`export MASTER_PORT=29501` on all of them")
    taken = {port: purpose for port, purpose in listening.items() if not is_free(port)}
    if taken:
        port, (purpose, hint) = next(iter(taken.items()))
        return warning(f"{port}, for {purpose}, is taken{holder(port)}", hint)
    return fine(f"{', '.join(map(str, listening))} free")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port of this machine."""
    with socket.socket() as trial:
        trial.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a connection just closed is no matter
        try:
            trial.bind((LOCAL, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Return `` by NAME (process N)`` for whoever listens on a port, empty where the system does not tell."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""


@contextmanager
def _connection() -> Iterator[Connection]:
    def no_second_try(_: float) -> None:
        raise InterruptedRequestError("it gave no answer at the first try")

    with Connection(server_address(), sleep=no_second_try) as server:
        yield server
