"""`python -m ollamake release` as a person meets it: what is said, what is committed, what another machine gets."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.files import read_json
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.release import lock
from ollamake.release.create import create
from ollamake.release.promote import promote
from ollamake.release.record import read_record
from ollamake.release.session import _alone
from tests.released import built_workspace, channels, commit, dvc, export_model, go_to, run, within
from tests.standin import Fault, StandIn, running

__all__ = ["built_workspace"]
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def released(built_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace of two releases, 1.0.0 in prod and 1.1.0 the candidate, and its server's models."""
    folder = tmp_path_factory.mktemp("released")
    shutil.copytree(built_workspace, folder / "workspace", symlinks=True)
    with pytest.MonkeyPatch.context() as patch, running(folder / "server") as standin, within(folder / "workspace"):
        patch.setenv("OLLAMA_HOST", standin.url)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setattr(lock, "require_current", lambda: None)
        with HttpServer(parse_address(standin.url)) as server:
            for build in ("one", "two"):
                go_to(build)
                export_model()
                made = create(server, None, "minor")
                commit(made.version)
                run("git", "tag", "-a", "-m", "notes", made.git_tag)
                if build == "one":
                    promote(server, None)
                    commit("promote")
    return folder


@pytest.fixture
def workspace(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(released / "workspace", tmp_path / "workspace", symlinks=True)
    monkeypatch.chdir(tmp_path / "workspace")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    return tmp_path / "workspace"


@pytest.fixture
def standin(released: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    shutil.copytree(released / "server", tmp_path / "server")
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        yield standin


def release(*arguments: str, code: int = 0) -> Result:
    result = RUNNER.invoke(app, ["release", *arguments])
    assert result.exit_code == code, result.output
    return result


def log() -> list[str]:
    return run("git", "log", "--format=%s").splitlines()


@pytest.mark.usefixtures("standin")
def test_a_promotion_is_committed_and_says_how_to_run_the_model() -> None:
    result = release("promote")
    assert result.stdout == ("tiny:prod is 1.1.0 now: ollama run tiny:prod\ncommitted: Promote tiny 1.1.0 to prod\n")
    assert re.fullmatch(r"proving tiny:1\.1\.0-[0-9a-f]{8} on 5 prompts\n", result.stderr)
    assert log()[0] == "Promote tiny 1.1.0 to prod"
    assert run("git", "status", "--porcelain") == ""
    assert run("git", "show", "--name-only", "--format=").split() == [
        "releases/channels.json",
        "releases/shipped.jsonl",
    ]


@pytest.mark.usefixtures("standin")
def test_a_rollback_is_one_command_and_once_more_undoes_it() -> None:
    release("promote")
    assert release("rollback").stdout == (
        "tiny:prod is 1.0.0 again; prod-previous is 1.1.0\ncommitted: Roll tiny back from 1.1.0 to 1.0.0\n"
    )
    release("rollback", "--no-commit")
    assert channels()["prod"] == "1.1.0"
    assert run("git", "status", "--porcelain") == " M releases/channels.json\n M releases/shipped.jsonl\n"


@pytest.mark.usefixtures("standin")
def test_without_an_earlier_release_in_prod_there_is_no_way_back() -> None:
    result = release("rollback", code=1)
    assert result.stderr == (
        "error: prod never named another release\n"
        "hint: `python -m ollamake release promote VERSION` takes any that `release list` shows\n"
    )


@pytest.mark.usefixtures("standin")
def test_a_promotion_that_is_done_already_changes_nothing() -> None:
    before = log()
    release("promote", "1.0.0")
    assert log() == before
    assert channels() == {"prod": "1.0.0", "candidate": "1.1.0"}


@pytest.mark.usefixtures("standin")
def test_a_creation_commits_tags_and_names_the_next_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "require_current", lambda: None)
    export_model(ollama_num_predict=32)
    text = Path("params.yaml").read_text().replace("ollama_num_predict: 64", "ollama_num_predict: 32")
    Path("params.yaml").write_text(text)
    commit("shorter answers")
    result = release("create", "--bump", "patch", "--keep", "1")
    record = read_record("1.1.1")
    assert result.stdout == (
        f"tiny 1.1.1 is {record.tag}, and tiny:candidate names it\n"
        "committed and tagged model@v1.1.1: Release tiny 1.1.1\n"
        "then `git push --follow-tags && dvc push`, and `python -m ollamake release promote` for prod\n"
    )
    old = read_record("1.1.0").tag
    assert result.stderr == f"{old} left the server; `release deploy 1.1.0` brings it back\n"
    assert run("git", "tag", "--points-at", "HEAD") == "model@v1.1.1\n"
    assert run("git", "cat-file", "-t", "model@v1.1.1") == "tag\n"
    assert "| ollama_num_predict | 64    | 32    |" in run("git", "tag", "-l", "--format=%(contents)", "model@v1.1.1")


def test_a_server_that_keeps_old_releases_does_not_hold_up_the_new_one(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "require_current", lambda: None)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("ollama_seed: 1", "ollama_seed: 3"))
    commit("a third seed")
    export_model(ollama_seed=3)
    standin.faults.add(Fault("DELETE /api/delete", times=99, status=403, message="not you"))
    result = release("create", "--keep", "1")
    assert "committed and tagged model@v1.2.0: Release tiny 1.2.0\n" in result.stdout
    assert run("git", "tag", "--points-at", "HEAD") == "model@v1.2.0\n"
    assert run("git", "status", "--porcelain") == ""
    old = read_record("1.1.0").tag
    assert re.fullmatch(
        f"warning: older releases stay in the server: cannot delete {re.escape(old)}: .*\n"
        "`python -m ollamake release deploy 1.2.0` tries that again\n",
        result.stderr,
    )
    standin.faults.clear()
    assert f"{old} left the server" in release("deploy", "1.2.0", "--keep", "1").stderr


@pytest.mark.usefixtures("standin")
def test_without_a_name_to_commit_under_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    release("promote")
    run("git", "config", "user.useConfigOnly", "true")
    run("git", "config", "--unset", "user.email")
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", "/dev/null")
    monkeypatch.delenv("EMAIL", raising=False)
    assert "or --no-commit" in release("rollback", code=1).stderr
    assert channels()["prod"] == "1.1.0"
    release("rollback", "--no-commit")
    assert channels()["prod"] == "1.0.0"


@pytest.mark.usefixtures("standin")
def test_a_creation_may_leave_the_commit_to_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "require_current", lambda: None)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("ollama_seed: 1", "ollama_seed: 2"))
    commit("another seed")
    export_model()
    result = release("create", "2.0.0", "--no-commit")
    assert (
        'not committed yet: git add releases && git commit -m "Release tiny 2.0.0" -- releases && '
        'git tag -a -m "Release tiny 2.0.0" model@v2.0.0\n'
    ) in result.stdout
    assert log()[0] == "another seed"


@pytest.mark.usefixtures("standin")
def test_the_list_shows_what_each_channel_names() -> None:
    lines = [line.split() for line in release("list").stdout.splitlines() if line.strip()]
    tags = [read_record(version).tag.partition(":")[2] for version in ("1.1.0", "1.0.0")]
    assert lines[0] == ["tiny"]
    assert [(line[0], line[1], line[-1]) for line in lines[3:]] == [
        (tags[0], "candidate", "yes"),
        (tags[1], "prod", "yes"),
    ]
    assert " ".join(lines[1]) == "tag channels made ROUGE-L, % file here"


def test_the_list_says_when_a_server_does_not_follow(standin: StandIn) -> None:
    standin.store.delete("tiny:prod")
    standin.store.copy("tiny:latest", "tiny:candidate")
    standin.store.delete("tiny:prod")
    assert release("list").stdout.splitlines()[-2:] == [
        "prod is 1.0.0, but tiny:prod in this server is nothing",
        "`python -m ollamake release deploy 1.0.0` makes this server follow",
    ]


def test_a_move_that_was_killed_is_seen_and_a_deployment_mends_it(standin: StandIn) -> None:
    standin.store.copy(read_record("1.1.0").tag, "tiny:prod")  # the server had moved, the files had not
    assert "prod is 1.0.0, but tiny:prod in this server is 1.1.0" in release("list").stdout
    release("deploy")
    assert standin.store.digest("tiny:prod") == standin.store.digest(read_record("1.0.0").tag)
    assert "but tiny:" not in release("list").stdout


def test_the_list_needs_no_server(workspace: Path) -> None:
    output = release("list").stdout
    assert output.splitlines()[-1] == "no Ollama server at hand, so nothing is known of what it holds"
    assert output.count(" ? ") == 2


def test_a_first_look_says_how_to_begin(workspace: Path) -> None:
    shutil.rmtree("releases")
    assert "`python -m ollamake release create` makes one" in release("list").stdout


def test_what_needs_a_server_says_so(workspace: Path) -> None:
    assert release("promote", code=1).stderr == (
        "error: http://127.0.0.1:9: no Ollama server there (connection refused)\n"
        "hint: `ollama serve`, or set OLLAMA_HOST\n"
    )


@pytest.mark.usefixtures("standin")
def test_two_commands_at_once_do_not_meddle() -> None:
    with _alone():
        assert "another release command is at work here" in release("promote", code=1).stderr


def test_the_hints_of_a_refusing_server_fit_the_command(standin: StandIn) -> None:
    standin.faults.add(Fault("POST /api/show", status=500, message="no space left on device"))
    assert release("promote", code=1).stderr.endswith("hint: free some space there, then run this command again\n")


@pytest.mark.parametrize("what", ["1.1.0", "candidate", "model@v1.1.0", "tag", "digest", "sha256", "commit", "short"])
def test_whence_knows_a_release_by_all_its_names(workspace: Path, what: str) -> None:
    record = read_record("1.1.0")
    names = {
        "tag": record.tag,
        "digest": record.tag_digest,
        "sha256": f"sha256:{record.serving.sha256}",
        "commit": record.git_commit,
        "short": record.tag_digest[:12],  # as `ollama list` shows it
    }
    lines = release("whence", names.get(what, what)).stdout.splitlines()
    assert lines[0] == f"release   tiny 1.1.0, made {record.created}"
    assert lines[1] == "channels  candidate"
    assert f"commit    {record.git_commit}, the release itself model@v1.1.0" in lines
    assert "  data/prepared/train.jsonl  md5 " + record.data["data/prepared/train.jsonl"] in lines
    assert "  lora_rank                    16" in lines
    assert any(line.startswith("  ROUGE-L, %") for line in lines)


def test_whence_asks_the_server_what_a_tag_holds(standin: StandIn) -> None:
    standin.store.copy(read_record("1.1.0").tag, "mine")
    assert release("whence", "mine").stdout.startswith("release   tiny 1.1.0")


def test_whence_of_something_else_is_an_error(workspace: Path) -> None:
    assert release("whence", "ffff", code=1).stderr.startswith("error: ffff is no release\nhint: ")


def test_notes_tell_what_changed_since_the_release_before(workspace: Path) -> None:
    text = release("notes").stdout
    assert text.startswith("# tiny 1.1.0\n\n")
    assert "| train                     | 200 conversations | 250 conversations |" in text
    assert "| lora_rank | 8     | 16    |" in text
    assert re.search(
        r"\| ROUGE-L, % +\| \S+ \[\S+, \S+\] +\| \S+ \[\S+, \S+\] +\| \+18\.6 \[\+\S+, \+\S+\] +\| 0\.0002 \|", text
    )
    assert text.endswith("95 % intervals; differences on the 40 test items that both answered (the same).\n")
    assert text.partition("## Data")[2] == "\n\n" + release("diff", "1.0.0", "1.1.0").stdout.partition("## Data\n\n")[2]
    assert release("notes", "--since", "1.1.0").stdout.count("The same.") == 3


def test_notes_of_the_first_release_tell_what_it_is(workspace: Path) -> None:
    assert "The first release: tiny, 200 train, 40 test conversations\n\n## Scores" in release("notes", "1.0.0").stdout


def test_another_machine_deploys_what_was_pushed(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("git", "clone", "--quiet", str(released / "workspace"), str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with running(tmp_path / "server", version="0.24.0") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        result = release("deploy")
        tag = read_record("1.0.0").tag
        assert result.stdout.splitlines()[:2] == [
            f"tiny 1.0.0 is served as {tag}, tiny:prod; proved there:",
            "  settings: 5 of 5",
        ]
        assert "models/gguf does not hold release 1.0.0: getting it from DVC" in result.stderr
        assert run("git", "status", "--porcelain") == ""
        again = release("deploy")
        assert again.stdout == result.stdout
        assert again.stderr == f"proving {tag} on 5 prompts\n"
    monkeypatch.chdir(released / "workspace")
    dvc("artifacts", "get", ".", "model", "--rev", "v1.0.0", "--out", str(tmp_path / "got"))
    recorded = read_json(Path("releases/1.0.0.json"))["serving"]["sha256"]
    assert read_json(tmp_path / "got/serving.json")["sha256"] == recorded
