"""The whole graph with a server at its end: what is in the workspace and what is served stay the same thing."""

import httpx
import pytest

from tests.standin import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once
MODEL = "ollamake-shell:latest"


@pytest.fixture
def server(tmp_path):
    with running(tmp_path / "models") as standin:
        yield standin


def digest(server) -> str | None:
    """The id of what the server has under the name of the params, None if it has nothing."""
    models = httpx.get(f"{server.url}/api/tags").json()["models"]
    return next((model["digest"] for model in models if model["name"] == MODEL), None)


def repro(project, server):
    return project.run("dvc", "repro", OLLAMA_HOST=server.url).stdout


def test_a_build_serves_its_model_and_repairs_what_others_did_to_it(project, server):
    assert "proved there" in repro(project, server)
    served = digest(server)
    assert served is not None
    assert "proved and unchanged" in repro(project, server)

    httpx.request("DELETE", f"{server.url}/api/delete", json={"model": MODEL}).raise_for_status()
    assert digest(server) is None
    assert "proved there" in repro(project, server)
    assert digest(server) == served


@pytest.mark.nightly
def test_going_back_to_earlier_parameters_serves_the_earlier_model_again(project, server):
    repro(project, server)
    first = digest(server)
    project.set(ollama_num_predict=99)
    repro(project, server)
    assert digest(server) != first
    project.restore()
    repro(project, server)
    assert digest(server) == first


def test_a_trial_in_a_copy_leaves_the_served_model_alone(project, server):
    repro(project, server)
    served = digest(server)
    trial = project.run("dvc", "exp", "run", "--temp", "-S", "ollama_num_predict=77", OLLAMA_HOST=server.url)
    assert "a trial must not replace the model in use" in trial.stdout
    assert digest(server) == served
