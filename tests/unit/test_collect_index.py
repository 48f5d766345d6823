import hashlib
import io
import json
import tarfile
import time

import pytest

from ollamake.collect.index import failure, source_archive
from ollamake.collect.recipe import Package
from ollamake.errors import DataError
from tests.security.canaries import MARK, SECRETS

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


def write_archive(archive, setup):
    """Write the source archive of eg 1.2.3; return it as a recipe pins it."""
    with tarfile.open(archive, "w:gz") as packed:
        for name, text in {"PKG-INFO": "Metadata-Version: 2.1\nName: eg\nVersion: 1.2.3\n", "setup.py": setup}.items():
            entry = tarfile.TarInfo(f"eg-1.2.3/{name}")
            entry.size = len(text)
            packed.addfile(entry, io.BytesIO(text.encode()))
    return PINNED.model_copy(update={"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()})


def test_the_code_of_a_package_that_pip_runs_is_given_no_secrets(tmp_path, no_index, monkeypatch):
    links, seen = tmp_path / "links", tmp_path / "seen.json"
    links.mkdir()
    look = f"import json, os, setuptools\njson.dump(dict(os.environ), open({str(seen)!r}, 'w'))\n"
    look += "setuptools.setup(name='eg', version='1.2.3')\n"
    pinned = write_archive(links / "eg-1.2.3.tar.gz", look)
    for name, value in SECRETS.items():
        if not name.startswith("PIP_"):
            monkeypatch.setenv(name, value)
    given = {
        "PIP_FIND_LINKS": str(links),
        "PIP_NO_INDEX": "1",
        "https_proxy": "http://proxy",
        "SSL_CERT_FILE": "/a.pem",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert source_archive(pinned, tmp_path / "downloads").is_file()
    environment = json.loads(seen.read_text())
    assert MARK not in str(environment)
    assert {"PATH", "HOME", *given} <= set(environment)


def test_a_file_with_another_hash_is_named_with_both_hashes():
    complaint = f"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES ...\n  Got        {'a' * 64}\n"
    error = failure(PINNED, complaint)
    assert "a" * 64 in error.problem
    assert PINNED.sha256 in error.problem


def test_of_what_pip_says_only_the_cause_is_shown():
    complaint = "WARNING: old\nERROR: No space left on device\nhint: See above for details.\n"
    assert failure(PINNED, complaint).problem == "pip could not download it: ERROR: No space left on device"
    assert failure(PINNED, "").problem == "pip could not download it: it does not say why"
