import os
from pathlib import Path

import pytest

from ollamake import preflight
from ollamake.errors import DataError


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda _: None, "there is no such file"),
        (Path.mkdir, "is a directory"),
        (Path.touch, "is empty"),
        (os.mkfifo, "is a FIFO"),
    ],
)
def test_data_that_is_no_file_with_something_in_it_is_refused(make, problem):
    make(Path("chats.jsonl"))
    with pytest.raises(DataError, match=problem) as error:
        preflight.check({"data_source": "chats.jsonl"})
    assert error.value.hint


def test_data_in_a_closed_folder_is_an_error_with_a_hint(monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match="cannot be looked at: Permission denied") as error:
        preflight.check({"data_source": "closed/chats.jsonl"})
    assert error.value.hint == "`namei -l closed/chats.jsonl` shows which folder on the way is closed"


def test_data_that_is_there_passes():
    Path("chats.jsonl").write_text("{}\n")
    preflight.check({"data_source": "chats.jsonl"})
