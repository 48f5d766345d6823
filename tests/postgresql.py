"""A PostgreSQL server of Debian's package for a few tests: in a folder of its own, on a socket, with a password."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "s3cret%40word"  # an @, as it is written in a URL
SETTINGS = "-c fsync=off -c full_page_writes=off -c shared_buffers=8MB -c max_connections=40"


@dataclass(frozen=True)
class Server:
    """A running server; a socket in its folder needs no port, which another test might take first."""

    folder: Path
    control: Callable[[str], None]  # pg_ctl: "stop", "start"

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """Return the URL of a database, made when it is not there yet."""
        import psycopg

        base = f"postgresql://sweeper:{PASSWORD}@/postgres?host={self.folder}"
        with psycopg.connect(base, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if not known:
                connection.execute(f'CREATE DATABASE "{database}"')
        return f"postgresql://sweeper:{password}@/{database}?host={self.folder}"


@contextmanager
def running() -> Iterator[Server]:
    """Start a server and end it. Skips where none can run: `apt-get install postgresql` brings one."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: apt-get install --no-install-recommends postgresql")
    # Not in $TMPDIR: it may be too long for a socket, or closed to the user that the server runs as.
    folder, owner = Path(tempfile.mkdtemp(prefix="ollamake-postgresql-", dir="/tmp")), _owner()
    if owner:  # PostgreSQL does not run as root
        shutil.chown(folder, owner)
    bin_, data = programs[-1].parent, folder / "data"
    secret = folder / "password"
    secret.write_text(PASSWORD.replace("%40", "@"))
    secret.chmod(0o644)
    try:
        # The language of the machine may be one that was never generated.
        language = ("--locale=C", "-E", "UTF8")
        access = ("-U", "sweeper", "-A", "scram-sha-256", "--pwfile", secret)
        _run(owner, bin_ / "initdb", "-D", data, *access, *language, "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' {SETTINGS}"

        def control(action: str) -> None:
            _run(
                owner, bin_ / "pg_ctl", "-D", data, "-w", "-m", "immediate", "-l", folder / "log", "-o", options, action
            )

        try:
            control("start")
            yield Server(folder, control)
        finally:
            if (data / "postmaster.pid").exists():
                control("stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner() -> str | None:
    """Return the user that the server runs as, where the tests run as root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(owner: str | None, *command: object) -> None:
    subprocess.run([str(part) for part in command], user=owner, check=True, cwd="/", stdout=subprocess.DEVNULL)
