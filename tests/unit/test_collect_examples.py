import io
import tarfile

import pytest

from ollamake.collect.commands import one_command, programs
from ollamake.collect.pairs import harvest
from ollamake.collect.recipe import Package, Recipe
from ollamake.collect.sheets import Unusable, examples
from ollamake.collect.wishes import wish
from ollamake.errors import DataError

EG = Package(requirement="eg==1.2.3", sha256="0" * 64, license="MIT", format="eg", skip=("vim",))
CHEAT = Package(requirement="cheat==2.5.1", sha256="1" * 64, license="MIT", format="cheat")


@pytest.fixture
def archive(tmp_path):
    def write(package, sheets):
        folder = {"eg": "eg-1.2.3/eg/examples/{}.md", "cheat": "cheat-2.5.1/cheat/cheatsheets/{}"}[package.format]
        path = tmp_path / f"{package.name}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, text in sheets.items():
                member = tarfile.TarInfo(folder.format(name))
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        return path

    return write


def test_a_markdown_sheet_gives_each_paragraph_with_the_code_below_it(archive):
    sheet = "# ls\n\nlist all\nfiles\n\n    ls -a\n\n\n# More\n\nSort by size. `-S` sorts:\n\n    $ ls -S\n    big\n"
    first, second = examples(archive(EG, {"ls": sheet}), EG)
    assert (first.sentences, first.lines) == (("list all files",), ("ls -a",))
    assert (second.sentences, second.lines) == (("Sort by size.", "`-S` sorts:"), ("$ ls -S", "big"))


def test_a_sheet_of_comments_gives_each_comment_with_the_code_below_it(archive):
    sheet = "# To list files:\nls\n\n# To list files\n# by size, the\n# largest first\nls -S\n# Note: slow\nls -R\n"
    found = list(examples(archive(CHEAT, {"ls": sheet}), CHEAT))
    assert [example.sentences for example in found] == [
        ("To list files:",),
        ("To list files by size, the largest first",),
        ("Note: slow",),
    ]


def test_a_skipped_sheet_and_a_file_elsewhere_give_nothing(archive):
    path = archive(EG, {"ls": "list\n\n    ls\n", "vim": "save\n\n    :w\n", "deep/er": "list\n\n    ls\n"})
    assert {example.sheet for example in examples(path, EG)} == {"ls"}


def test_an_archive_without_sheets_is_refused(archive):
    with pytest.raises(DataError, match="holds no sheets in the format eg"):
        list(examples(archive(CHEAT, {"ls": "# List\nls\n"}), EG))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "eg.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as sheets"):
        list(examples(tmp_path / "eg.tar.gz", EG))


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        (["ls -a"], "ls -a"),
        (["$ ls -a", "a.txt", "b.txt"], "ls -a"),
        (["$ touch a", "$ ls -a", "a"], "ls -a"),
        (["ls -a # all of them"], "ls -a"),
        (["ls -a \\", "   -l"], "ls -a -l"),
        (["sudo ls /root"], "sudo ls /root"),
        (["LANG=C ls"], "LANG=C ls"),
        (["/bin/ls '#1'"], "/bin/ls '#1'"),
        (["echo a | ls"], "echo a | ls"),
    ],
)
def test_a_block_of_code_gives_its_one_command(lines, command):
    assert one_command(lines, "ls", {"ls", "echo"}) == command


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["ls", "ls -a"], "several commands, or none"),
        (["$ ls", "$ ls -a"], "several commands, or none"),
        (["ls 'a"], "quotes that do not close"),
        (["Ctrl-b %"], "not a shell command"),
        (["SELECT * FROM ls;"], "not a shell command"),
        (["ls ..."], "a command with parts left out"),
        (["ls " + "a" * 120], "a long command"),
    ],
)
def test_a_block_of_code_without_one_command_is_dropped_with_its_reason(lines, reason):
    with pytest.raises(Unusable, match=f"^{reason}$"):
        one_command(lines, "ls", {"ls"})


def test_the_programs_of_a_pipe_are_named_without_their_folders_and_sudo():
    assert programs("sudo /usr/bin/find . | LANG=C sort && echo done") == ["find", "sort", "echo"]


@pytest.mark.parametrize(
    ("sentences", "text"),
    [
        (["To list all files:"], "List all files"),
        (["Copy a directory using the recursive (`-R`) flag:"], "Copy a directory"),
        (["Delete (`-d`) the branch `dead`:"], "Delete the branch dead"),
        (["Print lines that do NOT match by using the `-v` flag.", "This prints."], "Print lines that do NOT match"),
        (["This will remove the links to `node`:"], "Remove the links to node"),
        (["To see all packages, run:"], "See all packages"),
        (["Displays everything"], "Display everything"),
        (["Show your aliases"], "Show my aliases"),
        (["Recursively compress a folder"], "Recursively compress a folder"),
        (["Move it (this will override any previous -i)"], "Move it"),
        (["Determine the type of a file:"], "Determine the type of a file"),
        (["List.", "Show the DNS records of example.com"], "Show the DNS records of example.com"),
    ],
)
def test_a_sentence_of_a_manual_becomes_what_a_person_would_ask(sentences, text):
    assert wish(sentences) == text


@pytest.mark.parametrize(
    ("sentences", "reason"),
    [
        ([], "no sentence"),
        (["The following file is used:"], "a sentence that asks for nothing"),
        (["Undo the example above"], "a sentence that needs the text around it"),
        (["Combine -a with the rest"], "a sentence that gives the options away"),
        (["Show " + "very " * 40 + "much"], "a long sentence"),
        (["Install"], "a single word"),
    ],
)
def test_a_sentence_that_nobody_would_ask_is_dropped_with_its_reason(sentences, reason):
    with pytest.raises(Unusable, match=f"^{reason}$"):
        wish(sentences)


def recipe(**judgements):
    return Recipe(packages=(EG, CHEAT), **judgements)


def wishes(found):
    return {pair.wish: pair.command for pair in found.pairs}


def test_a_wish_that_does_not_tell_its_program_gets_the_name_in_front(archive):
    sheets = {
        "tar": "extract an archive\n\n    tar x a\n\n\nPOST a file\n\n    tar p\n\n\nopen it with tar\n\n    tar o\n"
    }
    archives = {EG.requirement: archive(EG, sheets), CHEAT.requirement: archive(CHEAT, {"ls": "# List a\nls\n"})}
    assert wishes(harvest(recipe(telling={"tar": ("archiv",)}), archives)) == {
        "Extract an archive": "tar x a",
        "With tar, POST a file": "tar p",
        "Open it with tar": "tar o",
        "With ls, list a": "ls",
    }


def test_a_wish_that_two_programs_grant_names_both(archive):
    sheets = {"curl": "download a file\n\n    curl a\n", "wget": "download a file\n\n    wget a\n"}
    archives = {EG.requirement: archive(EG, sheets), CHEAT.requirement: archive(CHEAT, {"ls": "# List a\nls\n"})}
    telling = {"curl": ("download",), "wget": ("download",), "ls": ("list",)}
    assert list(wishes(harvest(recipe(telling=telling), archives))) == [
        "With curl, download a file",
        "With wget, download a file",
        "List a",
    ]


def test_what_is_dropped_is_counted_for_each_package(archive):
    sheets = {"ls": "list all\n\n    ls\n\n\nlist all\n\n    ls -a\n\n\nlist wrongly\n\n    ls -z\n\n\nls\n\n    ls\n"}
    archives = {EG.requirement: archive(EG, sheets), CHEAT.requirement: archive(CHEAT, {"ls": "# LIST all\nls\n"})}
    found = harvest(recipe(drop={"ls": ("List wrongly",)}, telling={"ls": ("list",)}), archives)
    assert wishes(found) == {"List all": "ls"}
    assert found.dropped == {
        "eg==1.2.3": {"asked before": 1, "judged by eye": 1, "a sentence that asks for nothing": 1},
        "cheat==2.5.1": {"asked before": 1},
    }
