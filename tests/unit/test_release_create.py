"""What may be released: a build that is committed, current, through its gate, proved and served, and nothing else."""

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollamake.files import read_json, write_json
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.release import build, lock, repository
from ollamake.release.build import read_build
from ollamake.release.create import create
from ollamake.release.errors import ReleaseError
from ollamake.release.notes import differences, notes
from ollamake.release.record import RELEASES, read_record
from ollamake.release.show import describe
from stages import export
from tests.released import built_workspace, commit, export_model, run, set_params, workspace
from tests.standin import StandIn, running

__all__ = ["built_workspace", "workspace"]


@pytest.fixture
def standin(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        yield standin


@pytest.fixture
def server(standin: StandIn) -> Iterator[HttpServer]:
    with HttpServer(parse_address(standin.url), sleep=lambda _: None) as server:
        yield server


@pytest.fixture
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave `dvc status`, a second each time, to the tests about it."""
    monkeypatch.setattr(lock, "require_current", lambda: None)


def refused(server: HttpServer, version: str | None = None) -> ReleaseError:
    """The refusal of a release, which changed nothing."""
    before = server.digests(), sorted(RELEASES.iterdir())
    with pytest.raises(ReleaseError) as failure:
        create(server, version, "minor")
    assert (server.digests(), sorted(RELEASES.iterdir())) == before
    return failure.value


def test_a_clean_proved_build_may_be_released(server: HttpServer) -> None:
    export_model()
    found = read_build(server)
    assert found.name == "tiny"
    assert found.commit == run("git", "rev-parse", "HEAD").strip()
    assert found.proved.tag_digest == server.digest("tiny:latest")


def test_uncommitted_changes_are_named(server: HttpServer) -> None:
    set_params(lora_rank=99)
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text() + "\n")
    failure = refused(server)
    assert failure.problem == "uncommitted changes: dvc.yaml, params.yaml"
    assert failure.hint == "`git add --all && git commit -m 'what changed'`, then create the release again"


def test_a_file_that_the_build_reads_and_git_does_not_know_is_named(server: HttpServer) -> None:
    Path("notes.txt").write_text("of no concern")
    Path("recipe/gguf/extra.txt").write_text("read by convert")
    failure = refused(server)
    assert failure.problem == "the build reads files that git does not track: recipe/gguf/extra.txt"


def test_a_lock_file_that_was_never_committed_is_named(server: HttpServer) -> None:
    run("git", "rm", "--cached", "--quiet", "dvc.lock")
    run("git", "commit", "--quiet", "-m", "forgotten")
    assert refused(server).problem == "the build reads files that git does not track: dvc.lock"


def test_a_stale_build_is_refused_with_the_stages_that_are_stale(server: HttpServer) -> None:
    Path("recipe/train.jsonl").write_text("{}\n")
    set_params(lora_rank=99)
    commit("changed, not built")
    failure = refused(server)
    assert failure.problem == "the build is stale, `dvc status` lists: prepare, convert"
    assert failure.hint == "`dvc repro`, commit what it wrote, then create the release again"


@pytest.mark.usefixtures("workspace")
def test_a_workspace_that_dvc_cannot_read_is_refused_with_its_words() -> None:
    Path("dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(ReleaseError, match=r"`dvc status` failed: './dvc.yaml' validation failed"):
        lock.require_current()


def test_without_a_build_there_is_nothing_to_release(server: HttpServer) -> None:
    Path("dvc.lock").unlink()
    failure = refused(server)
    assert (failure.where, failure.problem, failure.hint) == ("dvc.lock", "nothing was built here", "`make build`")


def test_a_closed_gate_is_refused_with_its_reasons(workspace: Path) -> None:
    verdict = read_json(build.GATE) | {"passed": False, "reasons": ["gain on base in ROUGE-L, %: -1.0, p 0.2"]}
    write_json(build.GATE, verdict)
    with pytest.raises(ReleaseError, match="the gate is closed\n  gain on base in ROUGE-L, %: -1.0, p 0.2"):
        build._require_passed_gate()
    build.GATE.unlink()
    with pytest.raises(ReleaseError, match="the gate has not judged this build"):
        build._require_passed_gate()


@pytest.mark.usefixtures("without_dvc")
def test_a_model_that_was_never_served_is_refused(server: HttpServer) -> None:
    failure = refused(server)
    assert failure.problem == "the model is not served and proved: no export of this model"
    assert failure.hint == "`dvc repro export`, then create the release again"


@pytest.mark.usefixtures("without_dvc")
def test_a_model_that_was_proved_and_could_not_be_served_again_is_refused(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model()
    with monkeypatch.context() as patch:
        patch.setenv("OLLAMA_HOST", "127.0.0.1:9")
        export_model()
    assert refused(server).problem == (
        "the model is not served and proved: not served: no Ollama server at http://127.0.0.1:9 (connection refused)"
    )


@pytest.mark.usefixtures("without_dvc")
def test_a_model_that_somebody_replaced_in_the_server_is_refused(standin: StandIn, server: HttpServer) -> None:
    export_model()
    proved = export.RECEIPT.read_bytes()
    export_model(ollama_num_predict=32)
    export.RECEIPT.write_bytes(proved)
    assert refused(server).problem == f"tiny:latest is not, or no longer, what the last export proved at {standin.url}"


@pytest.mark.usefixtures("without_dvc")
def test_a_model_that_is_served_under_the_name_of_a_channel_is_refused(server: HttpServer) -> None:
    set_params(ollama_model="tiny:prod")
    commit("named like a channel")
    failure = refused(server)
    assert failure.problem.startswith("ollama_model is tiny:prod, which `release` keeps for itself")
    assert failure.hint == "take tiny, then `dvc repro export`"


@pytest.mark.usefixtures("without_dvc")
def test_a_release_is_made_once(server: HttpServer) -> None:
    export_model()
    create(server, None, "minor")
    commit("release")
    assert refused(server, "1.0.0").problem == "there is a release 1.0.0 already"
    again = refused(server)
    assert again.problem == "this very model is release 1.0.0: the same weights, template and parameters"
    assert again.hint == "`python -m ollamake release promote 1.0.0` lets prod name it"


@pytest.mark.usefixtures("without_dvc")
def test_a_release_names_no_folder_of_this_machine_and_no_server(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model()
    found = read_build(server)
    places = {"base_model": "/home/ann/models/mine", "data_source": "~ann/chats.jsonl"}
    there = dataclasses.replace(
        found,
        proved=found.proved.model_copy(update={"server": "http://anns-box.lan:11434"}),
        params={**found.params, **places},
    )
    monkeypatch.setattr("ollamake.release.create.read_build", lambda _: there)
    made = create(server, None, "minor")
    assert {name: made.params[name] for name in places} == {"base_model": "mine", "data_source": "chats.jsonl"}
    assert read_record("1.0.0") == made
    files = [file for file in RELEASES.iterdir() if file.name.startswith("1.0.0.")]
    assert len(files) == 4
    texts = [file.read_text() for file in files] + [notes(made, None), describe(made)]
    assert [word for text in texts for word in ("ann/", "~", "anns-box", server.url) if word in text] == []
    own = {name: value for name, value in found.params.items() if name not in places}
    assert {name: made.params[name] for name in own} == own


@pytest.mark.usefixtures("without_dvc")
def test_what_a_judge_said_is_recorded_and_told(server: HttpServer) -> None:
    export_model()
    assert build.judgement() == {}  # a build from before there was a judge
    write_json(Path("metrics/judge.json"), {"judge_model": "none"})
    assert build.judgement() == {}
    said = {"judge_model": "llama3.2:3b", "digest": "0123456789abcdef" * 4, "items": 6, "win": 4, "tie": 1, "loss": 1}
    write_json(Path("metrics/judge.json"), said | {"score": 0.75, "score_low": 0.4, "score_high": 0.93})
    commit("judged")
    made = create(server, None, "minor")
    assert read_record("1.0.0").judge == read_json(Path("metrics/judge.json"))
    verdict = "tuned against base: 4 won, 1 tied, 1 lost; score 75% (95 % interval 40% to 93%; 50 % = no difference)"
    assert notes(made, None).endswith(f"\n\n## Judge\n\n- 1.0.0: `llama3.2:3b` (0123456789ab), {verdict}")
    unjudged = made.model_copy(update={"judge": {}})
    assert differences(unjudged, made).splitlines()[-2:] == [
        "- 1.0.0: nobody was asked",
        f"- 1.0.0: `llama3.2:3b` (0123456789ab), {verdict}",
    ]
    assert "## Judge" not in differences(unjudged, unjudged) + notes(unjudged, None)
    assert f"judge\n  model    llama3.2:3b, {said['digest']}\n  verdict  {verdict}\n" in describe(made)


@pytest.mark.usefixtures("without_dvc")
def test_releases_of_two_names_do_not_mix(server: HttpServer) -> None:
    export_model()
    create(server, None, "minor")
    set_params(ollama_model="other", ollama_seed=7)
    commit("renamed")
    export_model()
    assert refused(server).problem == "the releases here are of tiny, but ollama_model is other"


def test_a_version_that_git_has_already_is_refused(server: HttpServer) -> None:
    run("git", "tag", "model@v1.0.0")
    failure = refused(server)
    assert failure.problem == "git has the tag model@v1.0.0, but there is no such release here"


def test_a_version_has_three_numbers(server: HttpServer) -> None:
    assert refused(server, "v1").problem == "'v1' is no version"


def test_outside_a_git_repository_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ReleaseError, match=r"`git status` failed: fatal: not a git repository"):
        repository.require_committed([])


@pytest.mark.usefixtures("workspace")
def test_only_the_records_are_committed(workspace: Path) -> None:
    Path("staged.txt").write_text("half an idea")
    run("git", "add", "staged.txt")
    (RELEASES / "1.0.0.json").write_text("{}")
    repository.commit_records("Release tiny 1.0.0", "model@v1.0.0", "# tiny 1.0.0\n\n## Scores")
    assert run("git", "show", "--name-only", "--format=%s").split("\n\n") == [
        "Release tiny 1.0.0",
        "releases/1.0.0.json\n",
    ]
    assert run("git", "status", "--porcelain") == "A  staged.txt\n"
    assert run("git", "tag", "--list", "--format=%(contents)").startswith("# tiny 1.0.0\n\n## Scores")
    repository.commit_records("nothing new")
    assert run("git", "log", "--format=%s", "-1") == "Release tiny 1.0.0\n"


@pytest.mark.usefixtures("workspace")
def test_a_commit_that_a_hook_refuses_leaves_the_commands_to_finish() -> None:
    hook = Path(".git/hooks/pre-commit")
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    (RELEASES / "1.0.0.json").write_text("{}")
    with pytest.raises(ReleaseError, match="`git commit` failed: no") as failure:
        repository.commit_records("Release tiny 1.0.0", "model@v1.0.0", "notes")
    assert failure.value.hint == (
        'everything else is done; to finish: git add releases && git commit -m "Release tiny 1.0.0" -- releases '
        '&& git tag -a -m "Release tiny 1.0.0" model@v1.0.0'
    )
    hook.unlink()
    subprocess.run(failure.value.hint.partition("finish: ")[2], shell=True, check=True)  # noqa: S602 - as it is pasted
    assert run("git", "tag", "--points-at", "HEAD") == "model@v1.0.0\n"
