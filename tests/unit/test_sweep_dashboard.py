"""The live view and the proxy: they answer where they say, show nothing to other machines unasked, and end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import optuna
import pytest

from ollamake.sweep.heartbeat import Heartbeat
from ollamake.sweep.storage import open_storage
from tests.sweeping import PATIENCE_SECONDS
from tests.unit.swept import sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "OLLAMAKE_SWEEP_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    optuna.logging.disable_default_handler()
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "ollamake", "sweep", *arguments]


def start(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_dashboard_shows_the_study_and_ends_by_its_process_id(workspace):
    sweep("lora", 3)
    with start(workspace, "dashboard", "--port", "0") as process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            assert httpx.get(address).status_code == 200
            root = address.partition("/dashboard")[0]
            studies = httpx.get(f"{root}/api/studies").json()["study_summaries"]
            assert [study["study_name"] for study in studies] == ["lora"]
            trials = httpx.get(f"{root}/api/studies/{address.rpartition('/')[2]}").json()["trials"]
            assert len(trials) == 3
        finally:
            os.kill(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_a_port_that_is_taken_is_said_with_another_one(workspace):
    sweep("lora", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with start(workspace, "dashboard", "--port", str(port)) as process:
            said = process.communicate()[1]
    assert process.returncode == 1
    assert f"port {port} cannot be used: Address already in use" in said
    assert f"sweep dashboard --port {port + 1}" in said


def test_machines_without_a_database_share_a_study_through_the_proxy(workspace):
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC's own: nobody else gets the port
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with start(workspace, "serve", "--port", str(port)) as process:
            try:
                assert next(line for line in process.stderr if "Server started" in line)
                one, other = (open_storage(f"grpc://127.0.0.1:{port}", "lora") for _ in range(2))
                study = optuna.create_study(storage=one, study_name="lora")
                study.enqueue_trial({"x": 3})
                assert optuna.load_study(storage=other, study_name="lora").ask().suggest_int("x", 0, 9) == 3
                number = study.ask().number
                heart = Heartbeat(other, "lora")
                assert heart.beat(number)
                study.tell(number, 1.0)
                assert not heart.beat(number)
                for proxy in (one, other):
                    proxy.close()
            finally:
                os.kill(process.pid, signal.SIGTERM)
    assert (workspace / ".ollamake/sweeps/served.db").exists()


def test_a_journal_cannot_be_served(workspace):
    with start(workspace, "serve", "--storage", f"journal:{workspace}/a.log") as process:
        said = process.communicate()[1]
    assert process.returncode == 1
    assert "only a database can be served" in said
