"""What a study shows and gives while it runs: optuna-dashboard in the browser, and the gRPC proxy for other machines.

Both take the storage as an object: optuna-dashboard's own command line would take a URL, with its password.
"""

import warnings
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ollamake.base import store
from ollamake.sweep.errors import SweepError
from ollamake.sweep.report_data import find_study
from ollamake.sweep.servers import CONNECT_SECONDS, SETUP
from ollamake.sweep.storage import open_storage
from ollamake.sweep.url import describe

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

LOCAL = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser's open connection does not hold the end up


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing of each request: the page asks every few seconds."""


def show_live(url: str | None, name: str | None, port: int) -> None:
    """Serve optuna-dashboard for the study on 127.0.0.1 and print its address, until the process is ended.

    Port 0 takes a free one. Raises SweepError when there is no such study or the port is taken.
    """
    from optuna_dashboard import wsgi

    study = find_study(url, name)
    storage = open_storage(url, study.study_name)
    page = f"dashboard/studies/{storage.get_study_id_from_name(study.study_name)}"
    try:
        server = make_server(LOCAL, port, wsgi(storage), server_class=_Server, handler_class=_Silent)
    except OSError as error:
        raise _unusable(port, str(error.strerror), "dashboard") from error
    with server, suppress(KeyboardInterrupt):
        print(f"http://{LOCAL}:{server.server_port}/{page}", flush=True)
        server.serve_forever()


def serve_storage(url: str | None, host: str, port: int) -> None:
    """Serve a database to other machines as grpc://HOST:PORT until the process is ended; by default a file here.

    It asks nobody for a password: what reaches the port reads and writes every study. Raises SweepError when the
    storage cannot be opened, is none to serve, or the port is taken.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import run_grpc_proxy_server

    storage = _database(url)
    warnings.simplefilter("ignore", ExperimentalWarning)
    try:
        with suppress(KeyboardInterrupt):
            run_grpc_proxy_server(storage, host=host, port=port)
    except ImportError as error:
        raise SweepError("gRPC is not installed", hint=SETUP) from error
    except RuntimeError as error:
        raise _unusable(port, "something else listens there", "serve") from error


def _database(url: str | None) -> "BaseStorage":
    """Return the database to serve. A journal is none: its operations carry the name of the process that did them."""
    from optuna.storages import RDBStorage

    if url:
        if not url.startswith("postgres"):
            raise SweepError("only a database can be served", where=describe(url), hint="leave `--storage` out")
        return open_storage(url, "")
    path = (store() / "sweeps/served.db").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": CONNECT_SECONDS}})


def _unusable(port: int, why: str, command: str) -> SweepError:
    return SweepError(
        f"port {port} cannot be used: {why}",
        hint=f"another one: `python -m ollamake sweep {command} --port {max(port, 1024) + 1}`",
    )
