"""A real Ollama for the contract: the server that OLLAMAKE_CONTRACT_URL names, or the `ollama` binary on PATH."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ollamake.ollama.address import parse_address, why_silent

START_SECONDS, STOP_SECONDS = 60, 30
URL, BINARY = os.environ.get("OLLAMAKE_CONTRACT_URL", ""), shutil.which("ollama")
WHY_NONE = "" if URL or BINARY else "no real Ollama: set OLLAMAKE_CONTRACT_URL, or put the `ollama` binary on PATH"


@contextmanager
def real_server(folder: Path) -> Iterator[str]:
    """Yield the URL of the real server; the binary's own writes go to `folder`."""
    if URL:
        yield URL
    else:
        assert BINARY, WHY_NONE
        with serving(BINARY, folder) as started:
            yield started


@contextmanager
def serving(binary: str, folder: Path) -> Iterator[str]:
    """Run `ollama serve` on a free port of 127.0.0.1, with models and keys in `folder`; end it by its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    places = {"HOME": str(folder), "OLLAMA_MODELS": str(folder / "models"), "OLLAMA_HOST": host}
    log = folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([binary, "serve"], env={**os.environ, **places}, stdout=stream, stderr=stream)
    try:
        _wait(process, host, log)
        yield f"http://{host}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", host: str, log: Path) -> None:
    start = time.monotonic()
    while why_silent(parse_address(host)):
        if process.poll() is not None or time.monotonic() - start > START_SECONDS:
            said = log.read_text(errors="replace")[-2000:]
            pytest.fail(f"`ollama serve` does not listen at {host}; its log:\n{said}")
        time.sleep(0.1)
