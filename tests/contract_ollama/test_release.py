"""Releases in a server: tags that never move, channels that do, and what is left when a move fails half-way."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ollamake.errors import ServerError
from ollamake.files import read_json, read_jsonl, write_json
from ollamake.ollama.http_server import HttpServer
from ollamake.release import channels as channel_files
from ollamake.release import deploy as deployment
from ollamake.release import lock
from ollamake.release.create import create
from ollamake.release.deploy import deploy
from ollamake.release.errors import ReleaseError
from ollamake.release.promote import promote, roll_back
from ollamake.release.prune import prune
from ollamake.release.record import Record, evidence_path, items_path, read_record, read_records, record_path
from ollamake.release.whence import find
from tests.released import built_workspace, channels, commit, dvc, export_model, go_to, run, set_params, shipped
from tests.standin import Fault, StandIn

__all__ = ["built_workspace"]
TURN = [{"role": "user", "content": "hello"}]


@pytest.fixture
def workspace(
    built_workspace: Path, server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A workspace at its first build, under a name in the server that nobody else has, removed afterwards."""
    folder = tmp_path / "workspace"
    shutil.copytree(built_workspace, folder, symlinks=True)
    monkeypatch.chdir(folder)
    # What `dvc status` stops is in tests/unit/test_release_create.py; here it would cost seconds at every turn.
    monkeypatch.setattr(lock, "require_current", lambda: None)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    name = f"ollamake-{secrets.token_hex(4)}/tiny"
    set_params(ollama_model=name)
    commit("name")
    yield folder
    for tag in server.digests():
        if tag.startswith(f"{name}:"):
            server.delete(tag)


def first(server: HttpServer) -> Record:
    """Release the first build."""
    export_model()
    return create(server, None, "minor")


def second(server: HttpServer) -> Record:
    """Release the second build, after the first."""
    name = run("git", "show", "HEAD:params.yaml").split("ollama_model: ")[1].split()[0]
    commit("release")
    go_to("two")
    set_params(ollama_model=name)
    commit("two")
    export_model()
    made = create(server, None, "minor")
    commit("release")
    return made


def served(server: HttpServer, name: str) -> dict[str, str | None]:
    """What the server has under each channel."""
    return {channel: server.digest(f"{name}:{channel}") for channel in channel_files.CHANNELS}


def state(server: HttpServer) -> tuple[dict[str, str], dict[str, bytes]]:
    """All tags of the server and all files of the releases."""
    files = {path.name: path.read_bytes() for path in channel_files.RELEASES.iterdir()}
    return server.digests(), files


@pytest.mark.usefixtures("workspace")
def test_a_release_is_a_candidate_then_prod_and_a_rollback_brings_the_one_before_back(server: HttpServer) -> None:
    old = first(server)
    assert (old.version, old.name + ":1.0.0-" + old.content[:8]) == ("1.0.0", old.tag)
    assert server.digest(old.tag) == old.tag_digest == server.digest(f"{old.name}:candidate")
    assert server.digest(f"{old.name}:prod") is None
    assert shipped() == []
    promote(server, None)
    assert shipped() == read_jsonl(Path("models/evaluated/items.jsonl"))

    new = second(server)
    assert (new.version, channels()) == ("1.1.0", {"prod": "1.0.0", "candidate": "1.1.0"})
    assert served(server, new.name) == {"candidate": new.tag_digest, "prod": old.tag_digest, "prod-previous": None}
    promote(server, None)
    assert channels() == {"prod": "1.1.0", "prod-previous": "1.0.0", "candidate": "1.1.0"}
    assert served(server, new.name) == {
        "candidate": new.tag_digest,
        "prod": new.tag_digest,
        "prod-previous": old.tag_digest,
    }
    assert shipped() == read_jsonl(Path("models/evaluated/items.jsonl"))

    assert [record.version for record in roll_back(server)] == ["1.0.0", "1.1.0"]
    assert channels() == {"prod": "1.0.0", "prod-previous": "1.1.0", "candidate": "1.1.0"}
    assert served(server, new.name)["prod"] == old.tag_digest
    assert server.answer(f"{new.name}:prod", TURN, 8).text == server.answer(old.tag, TURN, 8).text
    assert shipped() == read_jsonl(items_path("1.0.0"))


@pytest.mark.usefixtures("workspace")
def test_a_server_that_lost_everything_gets_each_release_back_as_it_was_recorded(server: HttpServer) -> None:
    old = first(server)
    promote(server, None)
    new = second(server)
    promote(server, None)
    for tag in [*server.digests()]:
        if tag.startswith(f"{new.name}:"):
            server.delete(tag)

    deployed, checks = deploy(server, None)
    assert (deployed.version, len(checks)) == ("1.1.0", 6)
    assert served(server, new.name) == {
        "candidate": server.digest(new.tag),
        "prod": server.digest(new.tag),
        "prod-previous": None,
    }
    # The workspace holds the second build: the first comes out of DVC's cache.
    deploy(server, "1.0.0")
    assert served(server, new.name)["prod-previous"] == server.digest(old.tag)
    assert not list(Path(".ollamake/releases").iterdir())
    roll_back(server)
    assert server.digest(f"{new.name}:prod") == server.digest(old.tag)
    assert find(f"{new.name}:prod", server.digests()) == old


@pytest.mark.usefixtures("workspace")
def test_a_release_that_no_longer_behaves_as_recorded_is_not_promoted(server: HttpServer) -> None:
    record = first(server)
    evidence = read_json(evidence_path("1.0.0"))
    evidence["proof"]["prompts"][0]["rendered"] = "something else"
    write_json(evidence_path("1.0.0"), evidence)
    before = state(server)
    with pytest.raises(ReleaseError) as failure:
        promote(server, None)
    assert failure.value.problem.startswith(f"{record.tag} does not behave as it was released\n  ✓ settings: 5 of 5\n")
    assert "✗ prompts rendered as in training: 4 of 5\n    'hello': differs at character 0" in failure.value.problem
    assert state(server) == before


@pytest.mark.usefixtures("workspace")
def test_old_releases_leave_the_server_unless_a_channel_names_them_and_stay_on_record(server: HttpServer) -> None:
    old, new = first(server), second(server)
    assert prune(server, 1, new) == [old]
    assert server.digest(old.tag) is None
    assert server.digest(new.tag) == new.tag_digest
    assert [record.version for record in read_records()] == ["1.0.0", "1.1.0"]
    with pytest.raises(ReleaseError, match=f"{old.tag} is not there") as failure:
        promote(server, "1.0.0")
    assert failure.value.hint == "`python -m ollamake release deploy 1.0.0` brings it"

    deploy(server, "1.0.0")
    promote(server, "1.0.0")
    assert prune(server, 1, new) == []
    promote(server, None)
    assert prune(server, 1, new) == []
    assert served(server, new.name)["prod-previous"] == server.digest(old.tag)


@pytest.mark.usefixtures("workspace")
def test_a_server_that_never_had_the_release_before_takes_the_next_and_says_what_is_missing_for_the_way_back(
    standin: StandIn, server: HttpServer
) -> None:
    old = first(server)
    promote(server, None)
    new = second(server)
    server.delete(old.tag)
    promote(server, None)
    assert served(server, new.name)["prod"] == new.tag_digest
    assert channels()["prod-previous"] == "1.0.0"
    with pytest.raises(ReleaseError, match=f"{old.tag} is not there"):
        roll_back(server)
    assert channels()["prod"] == "1.1.0"
    deploy(server, "1.0.0")
    roll_back(server)
    assert served(server, new.name)["prod"] == server.digest(old.tag)


def test_a_model_of_somebody_else_is_not_overwritten(server: HttpServer, workspace: Path) -> None:
    record = first(server)
    set_params(ollama_num_predict=32)
    export_model(ollama_num_predict=32)
    server.copy(f"{record.name}:latest", f"{record.name}:prod")
    before = state(server)
    with pytest.raises(ReleaseError, match=f"{record.name}:prod is none of the releases there") as failure:
        promote(server, None)
    assert failure.value.hint.startswith(f"`ollama cp {record.name}:prod {record.name}:mine && ollama rm ")
    assert state(server) == before


@pytest.mark.usefixtures("workspace")
def test_a_tag_that_is_taken_by_another_model_is_refused(server: HttpServer) -> None:
    export_model()
    record = create(server, None, "minor")
    export_model(ollama_num_predict=32)
    for path in (record_path, evidence_path, items_path):
        path("1.0.0").unlink()
    channel_files.FILE.unlink()
    server.copy(f"{record.name}:latest", record.tag)
    export_model()
    with pytest.raises(ReleaseError, match=f"{record.tag} exists and is another model"):
        create(server, None, "minor")


@pytest.mark.usefixtures("workspace")
def test_another_file_than_the_recorded_one_is_not_deployed(standin: StandIn, server: HttpServer) -> None:
    record = first(server)
    for tag in (record.tag, f"{record.name}:candidate"):
        server.delete(tag)
    content = read_json(record_path("1.0.0"))
    content["serving"]["sha256"] = "0" * 64
    write_json(record_path("1.0.0"), content)
    before = state(server)
    with pytest.raises(ReleaseError, match="is not the file that was released as 1.0.0: its sha256 is not 0000"):
        deploy(server, "1.0.0")
    assert state(server) == before


# --- what is left when a step fails ---


def failing_copy(standin: StandIn, number: int) -> None:
    """Let the server refuse the copy of this number, from 1, and do the others."""
    if number > 1:
        standin.faults.add(Fault("POST /api/copy", times=number - 1))
    standin.faults.add(Fault("POST /api/copy", status=400, message="disk on fire"))


def failing_file(path: Path) -> Callable[[pytest.MonkeyPatch], None]:
    """Let the disk be full when this file is written the first time."""

    def fail(monkeypatch: pytest.MonkeyPatch) -> None:
        replace, left = channel_files._replace, [path]

        def full(target: Path, content: bytes) -> None:
            if target in left:
                left.remove(target)
                raise OSError(28, "No space left on device", str(target))
            replace(target, content)

        monkeypatch.setattr(channel_files, "_replace", full)

    return fail


STEPS = ["prod-previous", "prod", "shipped", "channels"]


def break_step(step: str, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one step of a move fail."""
    if step in ("prod-previous", "prod"):
        failing_copy(standin, 1 + ["prod-previous", "prod"].index(step))
    else:
        failing_file(channel_files.SHIPPED if step == "shipped" else channel_files.FILE)(monkeypatch)


@pytest.mark.usefixtures("workspace")
def test_whichever_step_of_a_promotion_or_a_rollback_fails_all_is_as_it_was(
    standin: StandIn, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first(server)
    promote(server, None)
    second(server)
    for action in (lambda: promote(server, None), lambda: roll_back(server)):
        before = state(server)
        for step in STEPS:
            with monkeypatch.context() as patch:
                break_step(step, standin, patch)
                with pytest.raises((ServerError, OSError), match=r"disk on fire|No space left"):
                    action()
            standin.faults.clear()
            assert state(server) == before, step
        action()
        assert state(server) != before


@pytest.mark.usefixtures("workspace")
def test_a_server_that_dies_in_the_middle_leaves_prod_valid_and_says_what_could_not_be_put_back(
    standin: StandIn, server: HttpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first(server)
    promote(server, None)
    new = second(server)
    before = state(server)
    standin.faults.add(Fault("POST /api/copy", times=1))
    standin.faults.add(Fault("POST /api/copy", times=99, cut=True))
    standin.faults.add(Fault("DELETE /api/delete", times=99, cut=True))
    with pytest.raises(ServerError, match="the connection failed"):
        promote(server, None)
    assert f"{new.name}:prod-previous could not be put back" in capsys.readouterr().err
    standin.faults.clear()
    tags, files = state(server)
    assert files == before[1]
    assert tags[f"{new.name}:prod"] == before[0][f"{new.name}:prod"]
    promote(server, None)
    assert channels()["prod"] == "1.1.0"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("step", ["tag", "candidate", "items", "record"])
def test_whichever_step_of_a_creation_fails_no_trace_is_left(
    standin: StandIn, server: HttpServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    export_model()
    before = state(server)
    if step in ("tag", "candidate"):
        failing_copy(standin, 1 if step == "tag" else 2)
    elif step == "items":
        Path("models/evaluated/items.jsonl").unlink()
    else:
        failing_file(channel_files.FILE)(monkeypatch)
    with pytest.raises((ServerError, ReleaseError, OSError)):
        create(server, None, "minor")
    assert state(server) == before


@pytest.mark.usefixtures("workspace")
def test_a_deployment_whose_channel_cannot_move_leaves_the_channels_as_they_were(
    standin: StandIn, server: HttpServer
) -> None:
    record = first(server)
    promote(server, None)
    for tag in (f"{record.name}:prod", f"{record.name}:candidate"):
        server.delete(tag)
    before = state(server)
    failing_copy(standin, 2)
    with pytest.raises(ServerError, match="disk on fire"):
        deploy(server, None)
    assert state(server) == before


def test_a_release_whose_file_is_nowhere_says_where_it_could_come_from(
    standin: StandIn, server: HttpServer, workspace: Path
) -> None:
    dvc("remote", "modify", "--quiet", "shared", "url", str(workspace.parent / "never pushed to"))
    commit("another remote")
    record = first(server)
    server.delete(record.tag)
    shutil.rmtree("models/gguf")
    shutil.rmtree(".dvc/cache")
    with pytest.raises(ReleaseError, match="is neither in models/gguf nor in DVC's cache or remote") as failure:
        deploy(server, "1.0.0")
    assert "`git checkout model@v1.0.0 && dvc push`" in str(failure.value.hint)
    assert not list((deployment.store() / "releases").iterdir())


def test_a_record_says_all_that_is_needed_to_make_the_release_again(
    standin: StandIn, server: HttpServer, workspace: Path
) -> None:
    record = first(server)
    assert read_record("1.0.0") == record
    assert record.git_commit == run("git", "rev-parse", "HEAD").strip()
    assert record.git_tag == "model@v1.0.0"
    assert record.params["lora_rank"] == 8
    assert record.rows == {"train": 200, "test": 40}
    assert list(record.data) == ["data/prepared/train.jsonl"]
    assert record.scores["passed"]
    assert record.parity == {"F16": {"size_bytes": 3, "top1_agreement": 1.0}}
    assert record.serving.sha256 == read_json(Path("models/gguf/serving.json"))["sha256"]
    assert record.blobs["uploaded"] == f"sha256:{record.serving.sha256}"
    assert record.items["items"] == record.items["kept"] == 40
    assert record.server_version == server.version()
