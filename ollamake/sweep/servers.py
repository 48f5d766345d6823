"""A study on a server: PostgreSQL, or Optuna's gRPC proxy, reached in bounded time."""

import time
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ollamake.sweep.errors import SweepError, first_line
from ollamake.sweep.url import describe

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage
    from psycopg import Connection
    from sqlalchemy.engine import URL

CONNECT_SECONDS = 10
RESTART_SECONDS = 300  # a server that restarts costs no trial of hours
GRPC_PORT = 13000
SETUP = "`make setup` installs what requirements.lock names"
TABLES_LOCK = 0x6F6C6C616D616B65  # "ollamake": any number that nobody else in the database locks


def open_postgresql(url: str) -> "RDBStorage":
    """Return the storage in a database, its tables made if they are not there. Raises SweepError with the reason."""
    import psycopg
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    address = _address(url)
    library = address.set(drivername="postgresql").render_as_string(hide_password=False)
    # A connection that the server closed during an hour of training is noticed and replaced.
    engine = {"pool_pre_ping": True, "creator": partial(_connect, library)}
    try:
        with psycopg.connect(library, connect_timeout=CONNECT_SECONDS) as connection:
            # Two machines that begin at once would both make the tables, and one would fail.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (TABLES_LOCK,))
            storage = RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=engine)
    except psycopg.Error as error:
        raise _unreachable(url, error, "`psql` with the same URL tells more") from error
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise _unreachable(url, error, "its tables must be of this Optuna's version, and yours to write") from error
    weakref.finalize(storage, storage.engine.dispose)  # else its connections break off when the process ends
    return storage


def _connect(library: str) -> "Connection":
    """Connect for a study that is under way: where the server restarts, wait for it."""
    import psycopg

    until = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return psycopg.connect(library, connect_timeout=CONNECT_SECONDS)
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _address(url: str) -> "URL":
    """Return the parsed URL, with the driver that this project installs."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        if url.count("@") < 2:
            return make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):  # its message repeats the URL
        pass
    raise SweepError(
        "the storage's URL cannot be read",
        where=describe(url),
        hint="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, in the password %40 for @, %2F for / and %3A for :",
    )


def open_proxy(url: str) -> "BaseStorage":
    """Return the storage that another machine serves. Raises SweepError with the reason."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or GRPC_PORT
    except ValueError:
        host = ""
    if not host:
        raise SweepError("the storage's URL cannot be read", where=describe(url), hint="grpc://HOST:PORT")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            proxy = GrpcStorageProxy(host=host, port=port)
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
    except ImportError as error:
        raise SweepError("gRPC is not installed", where=describe(url), hint=SETUP) from error
    except ConnectionError as error:
        raise _unreachable(url, error, "`python -m ollamake sweep serve` on that machine starts it") from error
    return proxy


def _unreachable(url: str, error: Exception, hint: str) -> SweepError:
    said = str(error.__cause__ or "").strip() or str(error).strip()
    return SweepError(f"the storage cannot be used: {first_line(said)}", where=describe(url), hint=hint)
