"""Bad paths: whatever is no plain file in its place is refused with its name; an odd name is a name like any other."""

import gzip
import json
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ollamake.data.formats.file import require_file
from ollamake.data.formats.listing import list_files
from ollamake.data.formats.reading import chunks
from ollamake.errors import DataError
from tests.bad_input.verdicts import KEPT, REFUSED
from tests.reading import PAIR, refusal, rows_of

ROW = json.dumps(PAIR).encode() + b"\n"


def list_refusal(source: Path, pattern: str = "all") -> DataError:
    with pytest.raises(DataError) as error:
        list_files(source, pattern)
    assert error.value.hint
    return error.value


@pytest.mark.r5(42, REFUSED, "nothing is ever unpacked")
@pytest.mark.parametrize("name", ["../x.jsonl", "/x.jsonl", "rows.jsonl"])
def test_an_archive_is_refused_and_nothing_in_it_is_unpacked(tmp_path, name):
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.json", "w") as archive:
        archive.writestr(name, ROW)
    with tarfile.open(folder / "b.json", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    before = sorted(tmp_path.rglob("*"))
    assert "is a zip archive" in refusal(folder / "a.json").problem
    assert refusal(folder / "b.json").problem == "is a tar archive"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.r5(42, REFUSED)
@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "..", "", "a/b.arrow", "a\0b", 3, None])
def test_a_saved_data_set_names_only_files_beside_it(tmp_path, name):
    (tmp_path / "x.arrow").write_bytes(b"")
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert list_refusal(folder).problem.startswith("names a file that does not lie beside it")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    assert list_refusal(folder).problem.startswith("names a file that does not lie beside it")


@pytest.mark.r5(43, REFUSED)
@pytest.mark.parametrize("pattern", ["all", "*.jsonl"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, pattern):
    (tmp_path / "secret.jsonl").write_bytes(ROW)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(ROW)
    (folder / "b.jsonl").symlink_to(tmp_path / "secret.jsonl")
    error = list_refusal(folder, pattern)
    assert error.where == str(folder / "b.jsonl")
    assert "leads out of the folder" in error.problem
    (folder / "b.jsonl").unlink()
    (folder / "more").symlink_to(tmp_path)
    assert list_refusal(folder, pattern).where == str(folder / "more")


def test_a_link_within_the_folder_is_a_file_and_no_endless_way(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.jsonl").write_bytes(ROW)
    (tmp_path / "a/again").symlink_to(tmp_path)
    (tmp_path / "b.jsonl").symlink_to("a/a.jsonl")
    assert list_files(tmp_path, "all") == [tmp_path / "a/a.jsonl", tmp_path / "b.jsonl"]
    (tmp_path / "c.jsonl").symlink_to(tmp_path / "c.jsonl")
    assert "cannot be read" in list_refusal(tmp_path).problem


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.r5(44, REFUSED)
@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (os.mkfifo, "is a FIFO, not a file"),
        (_socket, "is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.mkdir(), "is a directory, not a file"),
    ],
)
def test_what_is_not_a_file_is_refused_at_once(tmp_path, monkeypatch, make, problem):
    monkeypatch.chdir(tmp_path)
    make(Path("a.jsonl"))
    assert refusal(Path("a.jsonl")).problem == problem
    if "directory, not" not in problem:
        assert list_refusal(Path("a.jsonl")).problem == problem


@pytest.mark.r5(44, REFUSED)
def test_a_fifo_in_a_folder_is_refused_only_if_it_would_be_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(ROW)
    os.mkfifo(tmp_path / "control")
    assert list_files(tmp_path, "all") == [tmp_path / "a.jsonl"]
    os.mkfifo(tmp_path / "b.jsonl")
    assert list_refusal(tmp_path).problem == "is a FIFO, not a file"


@pytest.mark.r5(45, REFUSED)
def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(ROW)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything
        monkeypatch.setattr(os, "access", lambda *_: False)
    for refused in (refusal(path), list_refusal(path), list_refusal(tmp_path)):
        assert (refused.problem, refused.where) == ("cannot be read: Permission denied", str(path))


def test_a_folder_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def closed(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", closed)
    assert list_refusal(tmp_path).problem == "cannot be read: Permission denied"


def _parquet(content):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in content.splitlines()]), sink)
    return sink.getvalue().to_pybytes()


def _arrow(content):
    table, sink = pa.Table.from_pylist([json.loads(line) for line in content.splitlines()]), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


FORMS = {
    "jsonl": bytes,
    "json": lambda content: b"[" + content.strip().replace(b"\n", b",") + b"]",
    "csv": lambda content: b"text\n" + b"".join(b"%b\n" % json.loads(row)["text"].encode() for row in content.split()),
    "gz": gzip.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    "parquet": _parquet,
    "arrow": _arrow,
}
TEXT = b"".join(b'{"text":"%d"}\n' % number for number in range(100))
SHORTER = TEXT[: TEXT.index(b"\n", 700) + 1]


@pytest.mark.r5(46, REFUSED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", ["rewritten", "replaced", "removed", "touched"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, form, change):
    path = tmp_path / "a.data"
    path.write_bytes(FORMS[form](TEXT))
    reading = chunks(path, block_bytes=64)
    assert next(iter(next(reading).rows()))[1] == {"text": "0"}
    if change == "rewritten":
        path.write_bytes(FORMS[form](SHORTER))
    elif change == "replaced":
        (tmp_path / "new").write_bytes(path.read_bytes())
        (tmp_path / "new").replace(path)
    elif change == "removed":
        path.unlink()
    else:
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    with pytest.raises(DataError, match="changed while it was read|cannot be read: No such file") as error:
        list(reading)
    assert error.value.where == str(path)


@pytest.mark.r5(47, KEPT)
@pytest.mark.parametrize("stem", ["a\nb", "-rf", "$(touch x)", "`x`; 'y' \"z\"", "a" * 249])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_odd_name_is_a_name_like_any_other(tmp_path, monkeypatch, stem, form):
    name = f"{stem}.jsonl"
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(FORMS[form](TEXT))
    assert len(name.encode()) <= 255
    require_file(Path(name))
    assert list_files(Path(name), "all") == [Path(name)]
    assert list_files(Path(), "all") == [Path(name)]
    assert len(rows_of(Path(name))) == 100
    assert os.listdir() == [name]


@pytest.mark.r5(47, f"not UTF-8: {REFUSED}")
def test_a_name_that_is_not_utf_8_is_refused_and_shown(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    with open(path, "wb") as stream:  # noqa: PTH123 - a path of bytes
        stream.write(ROW)
    for source in (tmp_path, Path(os.fsdecode(path))):
        error = list_refusal(source)
        assert error.problem == "has a name that is not UTF-8"
        assert error.where == f"{tmp_path}/caf\\udce9.jsonl"


@pytest.mark.r5(48, REFUSED)
@pytest.mark.parametrize(
    "names", [("Rows.jsonl", "rows.jsonl"), ("A/x.jsonl", "a/X.jsonl"), ("caf\u00e9.csv", "cafe\u0301.csv")]
)
def test_names_that_differ_in_case_or_form_only_are_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(ROW)
    error = list_refusal(tmp_path)
    assert "is one file on other systems" in error.problem
    (tmp_path / names[1]).unlink()
    assert list_files(tmp_path, "all") == [tmp_path / names[0]]
