import hashlib
import io
import json
import re
import socket
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from ollamake.collect import hub
from ollamake.collect.hub import HubData
from ollamake.errors import DataError, DiskError
from tests.hub import HubHandler, blob_id, serving

COMMIT = "c0ffee" * 6 + "c0ff"
HUB_ID = "someone/some-chats"


def parquet():
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"instruction": ["list all"], "output": ["ls -a"]}), stream)
    return stream.getvalue()


@dataclass
class FakeHub:
    """What a hub would hold and say, and what it was asked."""

    files: dict[str, bytes]
    card: dict[str, object] = field(default_factory=lambda: {"license": "cc-by-4.0"})
    status: int = 200
    error_code: str = ""
    gated: bool = False
    seconds: float = 0.0
    damaged: str = ""
    broken: str = ""  # the name of a file that cannot be had
    torn: list[str] = field(default_factory=list)  # names of files whose next answer breaks off halfway
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def info(self):
        siblings = [self.sibling(name, content) for name, content in self.files.items()]
        return {"_id": "1", "id": HUB_ID, "sha": COMMIT, "cardData": self.card, "siblings": siblings}

    def sibling(self, name, content):
        facts = {"rfilename": name, "size": len(content), "blobId": blob_id(content)}
        if name.endswith(".parquet"):
            sha256 = hashlib.sha256(content).hexdigest()
            facts |= {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 100}, "blobId": "1" * 40}
        return facts


class Handler(HubHandler):
    """Answers as the hub does to dataset_info and to the download of a file."""

    def serve(self, path):
        path = unquote(path)
        if path == f"/api/datasets/{HUB_ID}/revision/{COMMIT}":
            self.answer(200, json.dumps(self.fake.info()).encode(), Content_Type="application/json")
        elif path.startswith("/api/"):
            self.answer(404, X_Error_Code="RevisionNotFound" if HUB_ID in path else "RepoNotFound")
        elif self.fake.gated:
            self.answer(401, X_Error_Code="GatedRepo")
        else:
            self.send_file(path.removeprefix(f"/datasets/{HUB_ID}/resolve/{COMMIT}/"))

    def send_file(self, name):
        body, headers = self.fake.files[name], {"ETag": f'"{hash(name)}"', "X_Repo_Commit": COMMIT}
        if name == self.fake.broken:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if name == self.fake.damaged:
            body = body[:-1] + b"!"
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.command == "GET":
            self.fake.ranges.append(asked[1])
            start = int(asked[1])
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:], **headers)
        elif name in self.fake.torn and self.command == "GET":
            self.fake.torn.remove(name)
            self.answer(200, body, sent=len(body) // 2, **headers)
        else:
            self.answer(200, body, **headers)
        return None


@pytest.fixture
def fake(monkeypatch):
    """A hub on this machine that serves a small data set with a card, a script and data in two formats."""
    fake = FakeHub(
        {
            "README.md": b"---\nlicense: cc-by-4.0\n---\n",
            ".gitattributes": b"*.parquet filter=lfs\n",
            "some-chats.py": b"raise SystemExit",
            "data/train-0.parquet": parquet(),
            "extra/more.jsonl": b'{"instruction": "where am I", "output": "pwd"}\n',
        }
    )
    with serving(Handler, fake, monkeypatch):
        yield fake


@pytest.fixture
def bring(tmp_path):
    def bring(pattern="all", commit=COMMIT, hub_id=HUB_ID, name="chats"):
        raw = tmp_path / f"raw-{time.monotonic_ns()}"
        return HubData(hub_id, commit, pattern).bring(name, raw, tmp_path / "downloads"), raw

    return bring


def downloaded(fake):
    return [path.partition(COMMIT + "/")[2] for path in fake.asked if path.startswith("GET /datasets")]


def test_the_data_files_of_a_commit_are_brought_and_no_script(fake, bring):
    brought, raw = bring()
    names = {"data/train-0.parquet", "extra/more.jsonl"}
    assert {file.relative_to(raw / "chats").as_posix() for file in brought.files} == names
    assert {file.relative_to(raw / "chats").as_posix() for file in raw.rglob("*") if file.is_file()} == names
    for name in names:
        assert (raw / "chats" / name).read_bytes() == fake.files[name]
    assert set(downloaded(fake)) == names
    assert brought.license == f"{HUB_ID}: cc-by-4.0"
    assert brought.origin == [
        {
            "hub": HUB_ID,
            "revision": COMMIT,
            "license": "cc-by-4.0",
            "sha256": {name: hashlib.sha256(fake.files[name]).hexdigest() for name in sorted(names)},
        }
    ]


def test_a_pattern_chooses_among_the_data_files(fake, bring):
    assert [file.name for file in bring("data/*")[0].files] == ["train-0.parquet"]
    assert downloaded(fake) == ["data/train-0.parquet"]


def test_what_was_brought_once_is_brought_again_without_a_network(fake, bring):
    first, _ = bring()
    fake.asked.clear()
    fake.status = 503
    second, _ = bring()
    assert fake.asked == []
    assert second.origin == first.origin
    assert all(file.is_file() for file in second.files)


def test_a_torn_download_goes_on_where_it_stopped(fake, bring, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10)
    fake.torn = ["data/train-0.parquet"]
    _, raw = bring()
    content = fake.files["data/train-0.parquet"]
    assert (raw / "chats/data/train-0.parquet").read_bytes() == content
    assert [int(start) for start in fake.ranges] == [pytest.approx(len(content) / 2, abs=10)]


def test_a_broken_off_download_keeps_the_files_that_are_whole(fake, bring, tmp_path):
    fake.broken = "extra/more.jsonl"
    with pytest.raises(DataError, match="the download broke off: 404") as error:
        bring()
    assert "goes on" in error.value.hint
    left = tmp_path / "downloads" / f"datasets--someone--some-chats@{COMMIT}/.cache/a-killed-try.incomplete"
    left.write_bytes(b"half a file")
    fake.broken = ""
    fake.asked.clear()
    bring()
    assert downloaded(fake) == ["extra/more.jsonl"]
    assert not left.exists()


@pytest.mark.parametrize("name", ["data/train-0.parquet", "extra/more.jsonl"])
def test_a_file_other_than_the_one_that_the_hub_lists_is_refused_and_fetched_anew(name, fake, bring):
    fake.damaged = name
    with pytest.raises(DataError, match="damaged on the way") as error:
        bring()
    assert error.value.where == f"{HUB_ID}, {name}"
    fake.damaged = ""
    fake.asked.clear()
    bring()
    assert name in downloaded(fake)


def test_a_file_that_was_changed_after_its_download_is_fetched_anew(fake, bring):
    _, raw = bring()
    with (raw / "chats/extra/more.jsonl").open("ab") as stream:  # the download has the same inode
        stream.write(b"{}\n")
    fake.asked.clear()
    _, raw = bring()
    assert (raw / "chats/extra/more.jsonl").read_bytes() == fake.files["extra/more.jsonl"]
    assert downloaded(fake) == ["extra/more.jsonl"]


def test_where_files_cannot_have_two_names_they_are_copied(fake, bring, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    _, raw = bring()
    assert (raw / "chats/extra/more.jsonl").read_bytes() == fake.files["extra/more.jsonl"]
    fake.status = 503
    bring()


def test_a_data_set_that_is_only_a_script_is_refused(fake, bring):
    fake.files = {name: content for name, content in fake.files.items() if "/" not in name}
    with pytest.raises(DataError, match="only a script that would load it") as error:
        bring()
    assert "refs%2Fconvert%2Fparquet" in error.value.hint
    assert downloaded(fake) == []


def test_a_data_set_without_data_is_refused(fake, bring):
    fake.files = {"README.md": b"", "image.png": b"png"}
    with pytest.raises(DataError, match="no file in a format that can be read") as error:
        bring()
    assert f"datasets/{HUB_ID}/tree/{COMMIT}" in error.value.hint


def test_a_pattern_that_no_file_fits_is_refused_with_where_to_look(fake, bring):
    with pytest.raises(DataError, match=r"none of its 2 data files fits train\*"):
        bring("train*")


def test_a_file_that_would_lie_outside_the_folder_is_refused(fake, bring, tmp_path):
    fake.files = {"../../evil.jsonl": b"{}\n"}
    with pytest.raises(DataError, match="would lie elsewhere"):
        bring()
    assert downloaded(fake) == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_commit_that_does_not_exist_is_refused(fake, bring):
    with pytest.raises(DataError, match="has no commit 0000") as error:
        bring(commit="0" * 40)
    assert "commits/main" in error.value.hint


def test_a_data_set_that_does_not_exist_is_refused(fake, bring):
    with pytest.raises(DataError, match="no such data set") as error:
        bring(hub_id="someone/else")
    assert "hf auth login" in error.value.hint


def test_a_gated_data_set_says_how_to_get_it(fake, bring):
    fake.gated = True
    with pytest.raises(DataError, match="accepted its terms") as error:
        bring()
    assert f"https://huggingface.co/datasets/{HUB_ID}" in error.value.hint
    assert "HF_TOKEN" in error.value.hint


@pytest.mark.parametrize("status", [403, 407, 429, 500, 503])
def test_an_answer_that_is_not_the_hubs_counts_as_out_of_reach(status, fake, bring):
    fake.status = status
    with pytest.raises(DataError, match="is out of reach") as error:
        bring()
    assert f"hf download {HUB_ID} --repo-type dataset --revision {COMMIT}" in error.value.hint


@pytest.mark.parametrize("info", [list, lambda: {"id": HUB_ID, "siblings": [{"rfilename": "a.jsonl"}]}])
def test_a_page_of_something_else_counts_as_out_of_reach(info, fake, bring, monkeypatch):
    monkeypatch.setattr(fake, "info", info)
    with pytest.raises(DataError, match="is out of reach"):
        bring()


def test_a_hub_that_does_not_answer_is_given_up_in_time(fake, bring, monkeypatch):
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    fake.seconds = 60.0
    started = time.monotonic()
    with pytest.raises(DataError, match="out of reach"):
        bring()
    assert time.monotonic() - started < 30


def test_a_name_look_up_that_hangs_is_given_up_in_time(fake, bring, monkeypatch):
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(60) or [])
    with pytest.raises(DataError, match="no answer within"):
        bring()


def test_offline_mode_is_respected(bring):
    with pytest.raises(DataError, match="out of reach.*offline mode is enabled"):
        bring()


def test_a_full_disk_is_noticed_before_the_download(fake, bring, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DiskError, match=f"downloading {HUB_ID} needs"):
        bring()
    assert downloaded(fake) == []


@pytest.mark.parametrize(
    ("card", "license_"),
    [({"license": ["mit", "apache-2.0"]}, "mit, apache-2.0"), ({}, "unknown"), (None, "unknown")],
)
def test_the_licence_is_the_one_on_the_card(card, license_, fake, bring):
    fake.card = card
    assert bring()[0].origin[0]["license"] == license_
