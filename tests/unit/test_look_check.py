import json

import pytest

from ollamake.data.findings import Finding, Place
from ollamake.data.shapes import SHAPES
from ollamake.errors import DataError
from ollamake.look.check import check, line
from ollamake.look.commands import Shape

GOOD = {"instruction": "list files", "output": "ls"}
REPAIRED = {"instruction": " list files ", "output": "ls"}
REJECTED = {"messages": [{"role": "bot", "content": "hello"}]}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


def write(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_rejected_and_repaired_rows_are_listed_with_their_lines(workspace, capfd):
    write(workspace / "chats.jsonl", GOOD, REPAIRED, REJECTED)
    assert check(workspace.joinpath("chats.jsonl").relative_to(workspace), "auto", 0)
    printed = capfd.readouterr()
    repaired, rejected, excerpt = printed.out.splitlines()
    assert repaired == "chats.jsonl:2: repaired: outer white space"
    assert rejected.startswith("chats.jsonl:3: rejected: a message of unknown role (message 1 has 'bot'")
    assert excerpt == '    {"messages": [{"role": "bot", "content": "hello"}]}'
    assert printed.err == (
        "        1 × rejected: a message of unknown role\n"
        "        1 × repaired: outer white space\n"
        "usable: 2 × conversation\n"
        "chats.jsonl: 1 row rejected, 1 repair\n"
    )


def test_repairs_alone_are_no_failure(workspace, capfd):
    write(workspace / "chats.jsonl", GOOD, REPAIRED, REPAIRED)
    assert not check(workspace / "chats.jsonl", "auto", 0)
    assert capfd.readouterr().err.endswith("chats.jsonl: 2 repairs\n")


def test_a_good_file_is_told_to_be_good(workspace, capfd):
    write(workspace / "chats.jsonl", GOOD)
    assert not check(workspace / "chats.jsonl", "auto", 0)
    assert capfd.readouterr() == ("", f"usable: 1 × conversation\n{workspace}/chats.jsonl: nothing is wrong\n")


def test_the_kinds_of_usable_rows_are_told(workspace, capfd):
    pair = {"prompt": "list files", "chosen": "ls", "rejected": "rm"}
    thumbs = [{"prompt": "list files", "completion": "ls", "label": label} for label in (True, True, False)]
    write(workspace / "chats.jsonl", *thumbs, pair, GOOD, {"text": "a"}, {**pair, "rejected": "ls"})
    assert check(workspace / "chats.jsonl", "auto", 0)
    told = "usable: 2 × thumb up, 1 × thumb down, 1 × chosen and rejected, 1 × conversation, 1 × text\n"
    assert f"        1 × rejected: the rejected answer is the chosen one\n{told}" in capfd.readouterr().err


def test_a_limit_lists_the_first_and_counts_all(workspace, capfd):
    write(workspace / "chats.jsonl", *[REJECTED] * 5, GOOD)
    assert check(workspace / "chats.jsonl", "auto", 2)
    printed = capfd.readouterr()
    assert printed.out.count("rejected") == 2
    assert "3 more not listed\n        5 × rejected" in printed.err
    assert printed.err.endswith("chats.jsonl: 5 rows rejected\n")


def test_a_limit_that_was_not_reached_hides_nothing(workspace, capfd):
    write(workspace / "chats.jsonl", *[REJECTED] * 2)
    check(workspace / "chats.jsonl", "auto", 2)
    assert "not listed" not in capfd.readouterr().err


def test_the_shape_decides_which_fields_are_read(workspace, capfd):
    write(workspace / "chats.jsonl", {**GOOD, "text": "list files with ls"})
    assert not check(workspace / "chats.jsonl", "text", 0)
    assert check(workspace / "chats.jsonl", "prompt", 0)


def test_the_shapes_of_the_command_are_those_of_the_reader():
    assert set(Shape.__args__) == {"auto", *(shape.name for shape in SHAPES)}


def test_a_file_that_cannot_be_read_is_an_error(workspace):
    with pytest.raises(DataError, match=r"nowhere.jsonl: cannot be read: No such file or directory\nhint: "):
        check(workspace / "nowhere.jsonl", "auto", 0)


def test_all_files_of_a_folder_are_checked_even_beside_one_that_cannot_be_read(workspace, capfd):
    write(workspace / "shards/a.jsonl", REJECTED)
    (workspace / "shards/b.jsonl").write_bytes("{}\n".encode("utf-16"))
    write(workspace / "shards/c.jsonl", REJECTED, GOOD)
    assert check(workspace / "shards", "auto", 0)
    printed = capfd.readouterr()
    assert "shards/a.jsonl:1: rejected" in printed.out
    assert "shards/c.jsonl:1: rejected" in printed.out
    assert f"error: {workspace}/shards/b.jsonl: is UTF-16 text\nhint: " in printed.err
    assert printed.err.endswith("shards: 2 rows rejected, 1 of 3 files cannot be read\n")


def test_a_row_of_a_table_is_not_called_a_line():
    finding = Finding(Place("chats.parquet", "row", 7), "repaired", "line ends")
    assert line(finding, colours=False) == "chats.parquet, row 7: repaired: line ends"


def test_colours_are_for_terminals():
    finding = Finding(Place("chats.jsonl", "line", 7), "rejected", "not valid JSON", "column 5", "{oops")
    assert line(finding, colours=True) == (
        "chats.jsonl:7: \x1b[1;31mrejected\x1b[0m: not valid JSON (column 5)\n\x1b[2m    {oops\x1b[0m"
    )
    assert line(finding, colours=False) == "chats.jsonl:7: rejected: not valid JSON (column 5)\n    {oops"


def test_a_finding_cannot_act_on_the_terminal():
    finding = Finding(
        Place("a\nb.jsonl", "line", 1), "rejected", "none of the known fields", "it has '\x1b]0;'", "\x9b"
    )
    text = line(finding, colours=False)
    assert text == "a⏎b.jsonl:1: rejected: none of the known fields (it has '␛]0;')\n    <U+009B>"
