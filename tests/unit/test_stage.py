import errno
import os
import sqlite3

import pyarrow as pa
import pytest

from ollamake import params, stage
from ollamake.errors import DataError
from ollamake.params import StageParams


class Params(StageParams):
    lora_rank: int


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(params, "schemas", lambda: {"train": Params})
    (tmp_path / "pins.yaml").write_text("{}\n")
    (tmp_path / "params.yaml").write_text("lora_rank: 8\n")
    return tmp_path


def test_the_stage_gets_its_parameters():
    seen = []
    stage.run(Params, seen.append)
    assert [given.lora_rank for given in seen] == [8]


def test_a_wrong_parameter_stops_the_stage_before_its_work(workspace):
    (workspace / "params.yaml").write_text("lora_rank: sixteen\n")
    seen = []
    with pytest.raises(SystemExit, match="params.yaml: 1 problem\n  line 1: lora_rank"):
        stage.run(Params, seen.append)
    assert seen == []


def test_a_failure_is_told_with_place_and_hint_and_exit_code_1(workspace):
    def main(_):
        raise DataError("message 3 has role 'bot'", where="chats.jsonl, line 812", hint="use assistant")

    with pytest.raises(SystemExit) as exit_:
        stage.run(Params, main)
    assert exit_.value.code == "error: chats.jsonl, line 812: message 3 has role 'bot'\nhint: use assistant"


@pytest.mark.row("R1.7")
def test_no_library_tells_the_hub_of_a_training(monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    told = []
    stage.run(Params, lambda _: told.append(os.environ["HF_HUB_DISABLE_TELEMETRY"]))
    assert told == ["1"]


def test_an_interrupted_stage_exits_with_a_failure_because_dvc_would_record_it_as_done():
    def main(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        stage.run(Params, main)
    assert exit_.value.code == 130


def test_a_full_disk_is_told_in_one_line():
    def main(_):
        raise OSError(errno.ENOSPC, "No space left on device", "models/tuned")

    with pytest.raises(SystemExit, match="error: models/tuned: the disk is full"):
        stage.run(Params, main)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.EFBIG, "File too large", "from", None, "models/gguf"),
            "models/gguf: a file may not become as large",
        ),
        (OSError(errno.EROFS, "Read-only file system", "models"), "models: the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "models"), "models: there is no right to it"),
        (OSError(errno.EIO, "Input/output error", "data/raw"), "data/raw: the disk does not read or write it"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: too many files are open at once"),
        (OSError("[Errno 5] Error reading bytes from file. Detail: [errno 5] Input/output error"), "the disk does not"),
        (RuntimeError("I/O error: File too large (os error 27)"), "a file may not become as large"),
        (OSError("3145728 requested and 2614768 written"), "only a part of a file could be written"),
        (
            RuntimeError("[enforce fail at container.cc:672] . unexpected pos 640 vs 534"),
            "only a part of a file",
        ),
        (MemoryError(), "there is not enough memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "there is not enough memory"),
        (
            pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily unavailable"),
            "there is not enough memory",
        ),
        (sqlite3.OperationalError("disk I/O error"), "a database cannot be read or written: disk I/O error"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(error, told):
    def main(_):
        raise ValueError("of a library") from error

    with pytest.raises(SystemExit) as exit_:
        stage.run(Params, main)
    assert exit_.value.code.startswith(f"error: {told}")
    assert "\nhint: " in exit_.value.code


def test_a_cache_that_takes_nothing_is_told_before_the_work(workspace, monkeypatch):
    (workspace / ".dvc/cache").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    seen = []
    with pytest.raises(SystemExit, match="error: .dvc/cache: nothing can be written there"):
        stage.run(Params, seen.append)
    assert seen == []


def test_a_bug_keeps_its_traceback():
    def main(_):
        raise OSError(errno.EBADF, "a bug")

    with pytest.raises(OSError, match="a bug"):
        stage.run(Params, main)


def test_a_full_disk_is_known_behind_the_error_of_a_library():
    class SafetensorError(Exception):
        pass

    def main(_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(SystemExit, match="error: the disk is full\nhint: free some space"):
        stage.run(Params, main)


def test_another_version_than_the_pinned_one_is_refused_because_it_would_be_recorded_under_a_false_name(workspace):
    (workspace / "pins.yaml").write_text("torch: 1.0.0\nno-such-package: 1.2.3\npydantic: 0.0.1\n")
    seen = []
    with pytest.raises(SystemExit) as exit_:
        stage.run(Params, seen.append)
    assert "torch 2.13.0 installed, 1.0.0 pinned; no-such-package is not installed, 1.2.3 pinned" in exit_.value.code
    assert exit_.value.code.endswith("hint: `make setup` installs what is pinned")
    assert seen == []
