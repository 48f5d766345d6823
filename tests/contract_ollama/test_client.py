"""The Modelfile in the hands of a person: `ollama create NAME -f models/export/Modelfile`.

With Ollama's own client where it is on PATH. The stand-in of the client, in tests/standin, is another reader of the
file; what it proves of ours is that these tests and the starting and ending of `ollama serve` work.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ollamake.ollama.address import parse_address, why_silent
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.served import ServedModel, write_modelfile
from ollamake.ollama.verify import verify
from tests.contract_ollama.real import BINARY, serving
from tests.contract_ollama.workspace import read_model
from tests.standin.client import UNREACHABLE, install

Done = subprocess.CompletedProcess[str]
REAL = [pytest.param(BINARY, marks=pytest.mark.ollama, id="ollama")] if BINARY else []


@pytest.fixture(params=["stand-in of the client", *REAL])
def binary(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param if request.param == BINARY else str(install(tmp_path / "bin"))


@pytest.fixture
def url(binary: str, tmp_path: Path) -> Iterator[str]:
    """A server that this binary runs."""
    (tmp_path / "home").mkdir()
    with serving(binary, tmp_path / "home") as url:
        yield url


@pytest.fixture
def exported(converted: Path, tmp_path: Path) -> ServedModel:
    """A workspace in which export has written its Modelfile, and found no server."""
    shutil.copytree(converted, tmp_path / "models/gguf")
    model = read_model(tmp_path / "models/gguf", "by-hand")
    write_modelfile(tmp_path / "models/export/Modelfile", model.modelfile)
    return model


def create(binary: str, folder: Path, url: str, file: str = "models/export/Modelfile", place: str = ".") -> Done:
    environment = {**os.environ, "OLLAMA_HOST": url.removeprefix("http://"), "HOME": str(folder / "home")}
    command = [binary, "create", "by-hand", "-f", file]
    return subprocess.run(command, cwd=folder / place, env=environment, capture_output=True, text=True, check=False)


def test_the_model_made_by_hand_passes_the_proof(binary: str, url: str, exported: ServedModel, tmp_path: Path) -> None:
    done = create(binary, tmp_path, url)
    assert (done.returncode, "success" in done.stdout + done.stderr) == (0, True)
    with HttpServer(parse_address(url)) as server:
        findings = verify(server, exported.name, exported)
    assert [finding.details for finding in findings if not finding.enough] == []
    assert len(findings) == 6


def test_the_model_made_by_hand_has_the_digest_of_the_one_that_export_makes(
    binary: str, url: str, exported: ServedModel, tmp_path: Path
) -> None:
    create(binary, tmp_path, url)
    with HttpServer(parse_address(url)) as server:
        by_hand = server.digest(exported.name)
        server.create("by-export:latest", exported.serving.sha256, exported.modelfile)
        assert server.show("by-export:latest")["parameters"].split() == server.show(exported.name)["parameters"].split()
        assert server.digest("by-export:latest") == by_hand


@pytest.mark.parametrize(("place", "file"), [("models/export", "Modelfile"), ("home", "../models/export/Modelfile")])
def test_the_gguf_is_found_from_every_place(
    binary: str, url: str, exported: ServedModel, tmp_path: Path, place: str, file: str
) -> None:
    done = create(binary, tmp_path, url, file, place)
    assert (done.returncode, done.stderr if done.returncode else "") == (0, "")


def test_a_gguf_that_has_gone_is_an_error_and_no_model(
    binary: str, url: str, exported: ServedModel, tmp_path: Path
) -> None:
    exported.gguf.unlink()
    done = create(binary, tmp_path, url)
    assert done.returncode != 0
    assert "invalid model name" in done.stderr  # the client takes what is no file for the name of a model
    assert httpx.get(f"{url}/api/tags").json()["models"] == []


@pytest.mark.skipif(not BINARY, reason="no `ollama` binary on PATH, so its own client is not asked")
@pytest.mark.ollama
def test_the_real_client_is_asked() -> None:
    assert REAL


def test_the_server_ends_with_the_test(binary: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with serving(binary, tmp_path / "home") as url:
        assert why_silent(parse_address(url)) == ""
    assert why_silent(parse_address(url)) == "connection refused"
    assert {path.name for path in (tmp_path / "home/models").iterdir()} >= {"blobs"}


def test_a_client_without_a_server_says_so(binary: str, exported: ServedModel, tmp_path: Path) -> None:
    done = create(binary, tmp_path, "http://127.0.0.1:9")
    assert done.returncode != 0
    assert UNREACHABLE in done.stderr


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    script = tmp_path / "ollama"
    script.write_text("#!/bin/sh\necho no room to live >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(pytest.fail.Exception, match="no room to live"), serving(str(script), tmp_path):
        pass
