import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ollamake.base import RECORD, open_base, store
from ollamake.errors import BaseModelError
from ollamake.files import sha256
from ollamake.resolve.shelf import fetch
from ollamake.resolve.source import Origin
from stages.fetch import Params, main

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty workspace with the real catalog."""
    folder = tmp_path / "workspace"
    (folder / "models").mkdir(parents=True)
    shutil.copyfile(REPOSITORY / "models/catalog.yaml", folder / "models/catalog.yaml")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


@dataclass
class Copied:
    """A source that copies a folder and counts how often it was asked to."""

    folder: Path
    revision: str = "1"
    brought: list[str] = field(default_factory=list)
    failure: Exception | None = None
    name: str = "copied"
    current: bool = True

    @property
    def identity(self):
        return ["copied", self.revision]

    def still_is(self, record):
        return self.current

    def bring(self, folder, downloads, *, needs_template=True):
        self.brought.append(str(downloads))
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        if self.failure:
            raise self.failure
        return Origin({"kind": "copied"}, self.revision, "mit")


def run(base_model, chat_template="model"):
    main(Params(base_model=str(base_model), base_model_revision="pinned", chat_template=chat_template))


def test_a_folder_becomes_the_base_model(tiny_base, workspace, capsys):
    run(tiny_base)
    base = open_base()
    assert base.record["architecture"] == "LlamaForCausalLM"
    assert base.record["name"] == tiny_base.name
    assert base.folder == Path(".ollamake/base") / base.record["key"]
    assert base.context_length == 512
    assert {file.name: sha256(file) for file in base.folder.iterdir()} == base.record["files"]
    assert sha256(base.folder / "model.safetensors") == sha256(tiny_base / "model.safetensors")
    assert str(workspace) not in RECORD.read_text()
    assert str(tiny_base) not in RECORD.read_text()
    out, err = capsys.readouterr()
    assert out == f"base: LlamaForCausalLM, licence unknown, from the folder, 13 MB in {base.folder}\n"
    assert err == f"copying the base model from {tiny_base}\n"


@pytest.mark.usefixtures("workspace")
def test_the_second_fetch_writes_the_same_bytes_and_copies_nothing(tiny_base, capsys):
    run(tiny_base)
    record = RECORD.read_bytes()
    times = {file: file.stat().st_mtime_ns for file in store().rglob("*") if file.suffix != ".lock"}
    RECORD.unlink()
    capsys.readouterr()
    run(tiny_base)
    assert RECORD.read_bytes() == record
    assert {file: file.stat().st_mtime_ns for file in store().rglob("*") if file.suffix != ".lock"} == times
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("workspace")
def test_an_equal_folder_elsewhere_has_the_same_key(tiny_base, tmp_path):
    run(tiny_base)
    first = open_base().record
    run(shutil.copytree(tiny_base, tmp_path / "elsewhere" / tiny_base.name))
    assert open_base().record == first


@pytest.mark.usefixtures("workspace")
def test_a_changed_folder_is_noticed(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "mine")
    run(folder)
    before = open_base().record["key"]
    with (folder / "chat_template.jinja").open("a") as stream:
        stream.write("\n")
    run(folder)
    assert open_base().record["key"] != before


def test_the_store_is_shared_by_the_temporary_copies_of_experiments(tiny_base, workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(workspace))
    copy = shutil.copytree(workspace, tmp_path / "copy")
    monkeypatch.chdir(copy)
    run(tiny_base)
    assert (copy / RECORD).is_file()
    assert not (copy / ".ollamake").exists()
    assert open_base().folder.is_relative_to(workspace)


def test_a_fetch_from_the_store_is_fast_because_it_loads_nothing_heavy(tiny_base, workspace):
    run(tiny_base)
    code = (
        "import sys, stages.fetch as f;"
        f"f.main(f.Params(base_model={str(tiny_base)!r}, base_model_revision='pinned', chat_template='model'));"
        "heavy = {'torch', 'transformers', 'tokenizers', 'safetensors', 'gguf', 'huggingface_hub', 'numpy', 'jinja2'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_was_changed_in_the_store_is_brought_back(tiny_base, tmp_path):
    source = Copied(tiny_base)
    record = fetch(source, tmp_path)
    path = tmp_path / "base" / record["key"] / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")  # of the same size
    assert fetch(source, tmp_path) == record
    assert sha256(path) == record["files"]["tokenizer.json"]


def test_a_source_that_moved_on_is_fetched_again(tiny_base, tmp_path):
    source = Copied(tiny_base)
    fetch(source, tmp_path)
    source.current = False
    fetch(source, tmp_path)
    assert len(source.brought) == 2


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b""), flip_bit])
def test_a_damaged_store_is_filled_again(damage, tiny_base, tmp_path, capsys):
    source = Copied(tiny_base)
    record = fetch(source, tmp_path)
    path = tmp_path / "base" / record["key"] / "model.safetensors"
    damage(path)
    assert fetch(source, tmp_path) == record
    assert len(source.brought) == 2
    assert sha256(path) == record["files"]["model.safetensors"]
    assert "no longer holds what was fetched" in capsys.readouterr().err


@pytest.mark.parametrize("failure", [BaseModelError("broken"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failed_fetch_leaves_nothing_and_the_next_one_works(failure, tiny_base, tmp_path):
    source = Copied(tiny_base, failure=failure)
    with pytest.raises(type(failure)):
        fetch(source, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".lock"] == []
    source.failure = None
    assert fetch(source, tmp_path)["revision"] == "1"


def test_what_a_killed_fetch_left_is_cleared_away(tiny_base, tmp_path):
    left = [tmp_path / "incoming", tmp_path / "base/.0123456789abcdef.partial-1"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "model-00001-of-00002.safetensors").write_bytes(b"half")
    record = fetch(Copied(tiny_base), tmp_path)
    assert "model-00001-of-00002.safetensors" not in record["files"]
    assert [folder for folder in left if folder.exists()] == []


def test_weights_that_are_not_sound_never_reach_the_store(tiny_base, tmp_path):
    broken = shutil.copytree(tiny_base, tmp_path / "broken")
    with (broken / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\x00\x00\xc0\x7f")  # a NaN
    with pytest.raises(BaseModelError, match="NaN"):
        fetch(Copied(broken), tmp_path / "store")
    assert not (tmp_path / "store/base").exists()


def test_two_fetches_at_once_bring_the_model_once(tiny_base, tmp_path):
    source = Copied(tiny_base)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch(source, tmp_path), range(2))
    assert first == second
    assert len(source.brought) == 1


def test_a_changed_request_is_not_answered_from_the_index(tiny_base, tmp_path):
    fetch(Copied(tiny_base, "1"), tmp_path)
    source = Copied(tiny_base, "2")
    assert fetch(source, tmp_path)["revision"] == "2"
    assert len(source.brought) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"record": {}})])
def test_a_torn_index_is_not_believed(text, tiny_base, tmp_path):
    source = Copied(tiny_base)
    record = fetch(source, tmp_path)
    (request,) = (tmp_path / "requests").iterdir()
    request.write_text(text)
    assert fetch(source, tmp_path) == record
    assert len(source.brought) == 2
