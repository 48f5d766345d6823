"""Releases of the real graph: `dvc repro` leaves what `release create` asks for, and the gate sees what is in prod."""

import sys

import httpx
import pytest

from tests.standin import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once


@pytest.fixture
def server(tmp_path):
    with running(tmp_path / "models") as standin:
        yield standin


@pytest.fixture
def history(project):
    """The project, whose commits and tags are taken back after the test."""
    start = project.run("git", "rev-parse", "HEAD").stdout.strip()
    yield project
    project.run("git", "reset", "--hard", "--quiet", start)
    project.run("git", "tag", "--delete", *project.run("git", "tag").stdout.split())


def build(project, server, message):
    project.run("dvc", "repro", OLLAMA_HOST=server.url)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--allow-empty", "-m", message)


def release(project, server, *arguments, ok=True):
    return project.run(sys.executable, "-m", "ollamake", "release", *arguments, ok=ok, OLLAMA_HOST=server.url)


def digests(server):
    return {
        model["name"]: model["digest"] for model in httpx.get(f"{server.url}/api/tags", timeout=60).json()["models"]
    }


@pytest.mark.nightly
def test_builds_become_releases_that_the_gate_compares_with_and_that_can_be_left_again(history, server):
    build(history, server, "first")
    created = release(history, server, "create")
    assert "tagged model@v1.0.0" in created.stdout
    release(history, server, "promote")
    first = digests(server)["ollamake-shell:prod"]
    assert first == digests(server)["ollamake-shell:candidate"]

    history.set(ollama_num_predict=99)
    build(history, server, "shorter answers")
    gate = history.metrics("gate")
    assert gate["release_items"] == gate["items"], "the gate compared with the release in prod"
    assert gate["lead"]["rouge_l"] == 0
    deployed = history.run(sys.executable, "-m", "ollamake", "mode", "deployment", OLLAMA_HOST=server.url).stdout
    assert "ollamake-shell:prod is 1.1.0 now" in deployed
    assert digests(server)["ollamake-shell:prod"] != first
    assert "prod is 1.0.0 again" in release(history, server, "rollback").stdout
    assert digests(server)["ollamake-shell:prod"] == first
    assert "| ollama_num_predict | 256   | 99    |" in release(history, server, "notes").stdout

    (history.folder / "docs/unknown.py").write_text("")
    (history.folder / "ollamake/gguf/unknown.py").write_text("")
    refused = release(history, server, "create", ok=False)
    assert "files that git does not track: ollamake/gguf/unknown.py\n" in refused.stderr
    (history.folder / "ollamake/gguf/unknown.py").unlink()
    (history.folder / "docs/unknown.py").unlink()
