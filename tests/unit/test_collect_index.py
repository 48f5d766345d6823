import hashlib
import time

import pytest

from ollamake.collect.index import failure, source_archive
from ollamake.collect.recipe import Package
from ollamake.errors import DataError

CONTENT = b"an archive"
PINNED = Package(requirement="eg==1.2.3", sha256=hashlib.sha256(CONTENT).hexdigest(), license="MIT", format="eg")


@pytest.fixture
def no_index(monkeypatch, tmp_path):
    """An index that nothing serves: port 9 refuses every connection at once."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def cached(downloads):
    return downloads / f"eg-1.2.3-{PINNED.sha256[:12]}.tar.gz"


def test_an_archive_that_is_there_is_not_fetched_again(tmp_path, no_index):
    cached(tmp_path).write_bytes(CONTENT)
    assert source_archive(PINNED, tmp_path) == cached(tmp_path)


def test_an_unreachable_index_fails_soon_with_the_ways_out_and_leaves_nothing(tmp_path, no_index):
    started = time.monotonic()
    with pytest.raises(DataError) as error:
        source_archive(PINNED, tmp_path / "downloads")
    assert time.monotonic() - started < 15
    assert error.value.where == "eg==1.2.3"
    assert "index cannot be reached" in error.value.problem
    assert "pip config list" in error.value.hint
    assert "data_source" in error.value.hint
    assert not (tmp_path / "downloads").exists()


def test_a_torn_archive_is_not_used(tmp_path, no_index):
    cached(tmp_path).write_bytes(CONTENT[:-1])
    with pytest.raises(DataError):
        source_archive(PINNED, tmp_path)


def test_a_file_with_another_hash_is_named_with_both_hashes():
    complaint = f"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES ...\n  Got        {'a' * 64}\n"
    error = failure(PINNED, complaint)
    assert "a" * 64 in error.problem
    assert PINNED.sha256 in error.problem


def test_of_what_pip_says_only_the_cause_is_shown():
    complaint = "WARNING: old\nERROR: No space left on device\nhint: See above for details.\n"
    assert failure(PINNED, complaint).problem == "pip could not download it: ERROR: No space left on device"
    assert failure(PINNED, "").problem == "pip could not download it: it does not say why"
