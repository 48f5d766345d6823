import errno
import os
from pathlib import Path

import pytest

from ollamake import files
from ollamake.errors import DiskError


def test_a_written_file_appears_whole_with_nothing_beside_it(tmp_path):
    with files.atomic_write(tmp_path / "deep" / "a.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path / "deep") == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="disk"), files.atomic_write(target) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "disk")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_folder_leaves_the_old_folder(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), files.atomic_folder(target) as partial:
        (partial / "new").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(target) == ["old"]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with files.atomic_folder(target) as partial:
        (partial / "new").touch()
    assert os.listdir(target) == ["new"]


def test_the_folder_behind_a_symbolic_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/old").touch()
    (tmp_path / "out").symlink_to("disk")
    with files.atomic_folder(tmp_path / "out") as partial:
        (partial / "new").touch()
    assert (tmp_path / "out").is_symlink()
    assert os.listdir(tmp_path / "disk") == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "out"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def refuse(self, to):
        if to == target and (self / "new").exists():
            raise OSError(errno.EIO, "disk")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk"), files.atomic_folder(target) as partial:
        (partial / "new").touch()
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(target) == ["old"]


def test_json_lines_keep_every_character_and_split_only_at_newlines(tmp_path):
    rows = [{"text": "a\u2028b\x85c\r\nd"}, {"text": "é\U0001f600"}]
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert files.read_jsonl(tmp_path / "a.jsonl") == rows


def test_the_sha256_is_that_of_the_standard_vector(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_lack_of_space_is_told_before_the_write_with_the_numbers(tmp_path):
    with pytest.raises(DiskError, match="merging needs 1,000,000,000 MB"):
        files.require_space(tmp_path / "not" / "yet", 10**15, "merging")


def test_enough_space_passes(tmp_path):
    files.require_space(tmp_path, 1, "a byte")


def test_what_the_system_hands_over_in_pieces_is_read_whole(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, start: pread(file, max(size // 2, 1), start))
    with (tmp_path / "a").open("rb") as stream:
        assert files.read_at(stream.fileno(), 7, 2) == b"2345678"
        assert files.read_at(stream.fileno(), 7, 8) == b"89"


def test_a_folder_that_takes_nothing_is_told(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    files.require_writable(tmp_path / "cache", tmp_path / "not yet")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DiskError, match="nothing can be written there") as error:
        files.require_writable(tmp_path, tmp_path / "cache", tmp_path / "not yet")
    assert error.value.where == f"{tmp_path} and 1 more"


@pytest.mark.parametrize(
    ("config", "local", "cache"),
    [
        ("", "", "cache"),
        ("[core]\n    autostage = false\n[cache]\n    type = copy\n", "", "cache"),
        ("[cache]\n    dir = ../elsewhere\n", "", "../elsewhere"),
        ("['remote \"r\"']\n    url = x\n[cache]\n    dir = a\n", '[cache]\n    dir = "/a disk/b"\n', "/a disk/b"),
        ("no section\n", "", "cache"),
    ],
)
def test_the_cache_is_where_the_settings_of_the_repository_have_it(tmp_path, config, local, cache):
    (tmp_path / "config").write_text(config)
    (tmp_path / "config.local").write_text(local)
    assert files.dvc_cache(tmp_path) == tmp_path / cache
