"""The stand-in as a process: what end-to-end tests and a person who tries things out start and stop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ollamake.errors import ServerError
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from tests.contract_ollama.workspace import read_model

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def process(models: Path) -> Iterator[HttpServer]:
    command = [sys.executable, "-m", "tests.standin", "--models", str(models), "--version", "0.33.7"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            name, _, url = running.stdout.readline().strip().partition("=")
            assert name == "OLLAMA_HOST"
            with HttpServer(parse_address(url), sleep=lambda _: None) as server:
                yield server
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=120) == 0


def test_models_outlive_the_process_and_unused_files_can_be_lost(converted: Path, tmp_path: Path) -> None:
    model = read_model(converted, "kept")
    with process(tmp_path) as server:
        assert server.version() == "0.33.7"
        server.upload(model.gguf, model.serving.sha256)
        server.create(model.name, model.serving.sha256, model.modelfile)
        digest = server.digest(model.name)
    with process(tmp_path) as server:
        assert server.digest(model.name) == digest
        httpx.post(
            f"{server.url}/faults", json={"route": "GET /api/tags", "times": 5, "status": 503}
        ).raise_for_status()
        with pytest.raises(ServerError, match="HTTP 503"):
            server.digest(model.name)
        assert server.digest(model.name) == digest
