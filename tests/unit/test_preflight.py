import gzip
import os
from pathlib import Path

import pytest

from ollamake import preflight
from ollamake.errors import DataError, ParamsError
from tests.training import settings

HUB = "  - {hub: org/chats, revision: 0a23456789012345678901234567890123456789}\n"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(data_source, data_files="all"):
    preflight.check_data({"data_source": data_source, "data_files": data_files})


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda _: None, "there is no such file"),
        (Path.mkdir, "holds no data file"),
        (Path.touch, "is empty"),
        (os.mkfifo, "is a FIFO"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "is a zip archive"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(100)), "Parquet"),
        (lambda path: path.write_bytes(gzip.compress(b"GGUF")), "a GGUF model"),
    ],
)
def test_data_that_no_stage_could_read_is_refused(make, problem):
    make(Path("chats.jsonl"))
    with pytest.raises(DataError, match=problem) as error:
        check("chats.jsonl")
    assert error.value.where.startswith("chats.jsonl")
    assert error.value.hint


def test_every_file_of_a_folder_is_looked_at():
    Path("shards").mkdir()
    Path("shards/a.jsonl").write_text("{}\n")
    Path("shards/b.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="is a PNG picture") as error:
        check("shards")
    assert error.value.where == "shards/b.csv"
    check("shards", "*.jsonl")


def test_every_file_of_a_mixture_is_looked_at_and_the_hub_is_not_asked():
    Path("mix").mkdir()
    Path("mix/a.jsonl").write_bytes(b"\x80\x04pickled")
    Path("mix/sources.yaml").write_text(f"sources:\n{HUB}  - files: a.jsonl\n")
    with pytest.raises(DataError, match="is a Python pickle"):
        check("mix")
    Path("mix/a.jsonl").write_text("{}\n")
    check("mix")


def test_data_in_a_closed_folder_is_an_error_with_a_hint(monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match="cannot be looked at: Permission denied") as error:
        check("closed/chats.jsonl")
    assert error.value.hint == "`namei -l closed/chats.jsonl` shows which folder on the way is closed"


def test_data_that_is_there_passes():
    Path("chats.jsonl").write_text("{}\n")
    check("chats.jsonl")


def test_a_training_that_this_machine_cannot_run_is_named_before_the_build(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "x"}\n')
    content = {**settings(report_to="none").model_dump(), "data_source": str(data), "data_files": "all"}
    preflight.check(content)
    with pytest.raises(ParamsError, match="paged_adamw moves its states out of a GPU's memory, and there is no GPU"):
        preflight.check({**content, "optimizer": "paged_adamw"})
