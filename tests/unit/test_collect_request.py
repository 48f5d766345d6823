"""What data_source may name, and what each of these becomes."""

import os
from pathlib import Path

import pytest

from ollamake.collect.content import LocalFiles
from ollamake.collect.hub import HubData
from ollamake.collect.packages import Packages
from ollamake.collect.request import Wanted, parse
from ollamake.errors import DataError

# Each line names the one before it nine times: its text would fill the memory.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 20)) + "sources: *a19\n"
COMMIT = "0123456789abcdef" * 2 + "01234567"
RECIPE = f"packages:\n  - {{requirement: eg==1.2.3, sha256: {'a' * 64}, license: MIT, format: eg}}\n"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(*names, text='{"text": "a"}\n'):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def mixture(sources, folder="mix"):
    write(f"{folder}/sources.yaml", text=f"sources:\n{sources}")
    return folder


def refused(data_source, problem, data_files="all"):
    with pytest.raises(DataError, match=problem) as error:
        parse(data_source, data_files)
    assert error.value.where
    assert error.value.hint
    return error.value


def test_a_data_file_is_one_source_of_that_file():
    write("data/my chats-v2.jsonl.gz")
    (source,) = parse("data/my chats-v2.jsonl.gz", "all")
    assert source == Wanted("my-chats-v2", LocalFiles((Path("data/my chats-v2.jsonl.gz"),)))


def test_an_absolute_path_stays_absolute(workspace):
    write("chats.jsonl")
    (source,) = parse(str(workspace / "chats.jsonl"), "all")
    assert source.own_files == (workspace / "chats.jsonl",)


def test_a_folder_is_one_source_of_its_data_files_sorted():
    write("shards/b.jsonl", "shards/a.jsonl", "shards/README.md")
    (source,) = parse("shards/", "all")
    assert source == Wanted("shards", LocalFiles((Path("shards/a.jsonl"), Path("shards/b.jsonl"))))


def test_a_pattern_chooses_among_the_files_of_a_folder():
    write("shards/train-1.jsonl", "shards/test-1.jsonl")
    (source,) = parse("shards", "train-*.jsonl")
    assert source.own_files == (Path("shards/train-1.jsonl"),)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: write("mine"), "one file"),
        (lambda: mixture("  - files: a.jsonl\n", "mine"), "a mixture"),
    ],
)
def test_a_pattern_where_there_is_nothing_to_choose_is_refused(make, kind):
    make()
    error = refused("mine", rf"is a\*, but data_source \(mine\) names {kind}", "a*")
    assert error.where == "params.yaml, data_files"


def test_a_recipe_is_read_and_named_after_its_file():
    write("command-line.yaml", text=RECIPE)
    (source,) = parse("command-line.yaml", "all")
    assert source.name == "command-line"
    assert isinstance(source.content, Packages)


def test_a_yaml_file_names_data_sets_of_the_hub():
    sources = f"- {{hub: org/chats, revision: {COMMIT}, files: data/train-*, weight: 2, name: mine}}"
    write("hub.yml", text=f"sources:\n{sources}\n")
    (source,) = parse("hub.yml", "all")
    assert source == Wanted("mine", HubData("org/chats", COMMIT, "data/train-*"), weight=2.0)


@pytest.mark.parametrize("entry", ["files: chats.jsonl", "recipe: r.yaml", f"hub: a/b, revision: {COMMIT}, losses: l"])
def test_a_yaml_file_that_names_own_files_is_told_to_become_a_folder(entry):
    write("list.yaml", text=f"sources:\n- {{{entry}}}\n")
    error = refused("list.yaml", "names files of yours, and DVC, which watches only this one file")
    assert error.hint == "name a folder of them and this list, called sources.yaml, in data_source"


def test_the_list_of_a_mixture_named_in_place_of_its_folder_is_told_the_folder():
    write("mix/chats.jsonl")
    mixture("  - files: chats.jsonl\n")
    assert refused("mix/sources.yaml", "names files of yours").hint == "name mix itself in data_source"


@pytest.mark.parametrize("text", ["", "a", "- a", "data: x", f"{RECIPE}sources: []\n"])
def test_a_yaml_file_that_is_neither_shows_both_forms(text):
    write("list.yaml", text=text)
    error = refused("list.yaml", "is neither a recipe nor a list of sources")
    assert "`packages:`" in error.hint
    assert "- hub: org/name" in error.hint


def test_a_mixture_reads_each_source_in_its_own_way():
    write(
        "mix/chats/a.jsonl", "mix/chats/b.jsonl", "mix/facts-1.csv", "mix/facts-2.csv", "mix/one.jsonl", "mix/l.jsonl"
    )
    write("mix/eg.yaml", text=RECIPE)
    folder = mixture(f"""
  - files: chats
  - files: facts-*.csv
    name: facts
    shape: instruction
    task: lookup
    weight: 0.5
    max_examples: 1000
    losses: l.jsonl
  - files: one.jsonl
    weight: 0
  - hub: org/Chats.v2
    revision: {COMMIT}
    name: theirs
  - recipe: eg.yaml
""")
    chats, facts, one, theirs, eg = parse(folder, "all")
    assert chats == Wanted("chats", LocalFiles((Path("mix/chats/a.jsonl"), Path("mix/chats/b.jsonl"))))
    files = LocalFiles((Path("mix/facts-1.csv"), Path("mix/facts-2.csv")))
    assert facts == Wanted("facts", files, "instruction", "lookup", 0.5, 1000, "mix/l.jsonl")
    assert (one.weight, one.name) == (0.0, "one")
    assert theirs == Wanted("theirs", HubData("org/Chats.v2", COMMIT, "all"))
    assert eg.name == "eg"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("", "line 1: sources: should be a list, each entry behind a `-`"),
        ("  []", "line 1: sources: is empty"),
        ("  - chats.jsonl", "line 2: sources: should hold `key: value` lines"),
        ("  - name: a", "line 2: files: is missing"),
        ("  - files: a.jsonl\n    wieght: 2", "line 3: wieght: there is no such key; did you mean weight?"),
        ("  - files: a.jsonl\n    revision: x", "line 3: revision: has no place here"),
        ("  - {hub: a/b, recipe: c}", "line 2: recipe: has no place here"),
        ("  - files: a.jsonl\n    weight: -1", "line 3: weight: input should be greater than or equal to 0"),
        ("  - files: a.jsonl\n    weight: 101", "line 3: weight: input should be less than or equal to 100"),
        ("  - files: a.jsonl\n    weight: .nan", "line 3: weight: input should be a finite number"),
        ("  - files: a.jsonl\n    weight: '2'", "line 3: weight: input should be a valid number, but it is '2'"),
        ("  - files: a.jsonl\n    max_examples: 1.5", "line 3: max_examples: input should be a valid integer"),
        ("  - files: a.jsonl\n    task: 3", "line 3: task: should be text; put a number in quotes"),
        ("  - files: a.jsonl\n    shape: alpaca", "line 3: shape: input should be 'auto', 'instruction', 'prompt'"),
        ("  - files: a.jsonl\n    name: ../a", "line 3: name: takes up to 40 letters"),
        ("  - files: ''", "line 2: files: string should have at least 1 character"),
        ("  - hub: chats", "line 2: hub: takes the id of a data set, org/name, but it is 'chats'"),
        ("  - hub: a/b--c", "line 2: hub: takes the id"),
        ("  - hub: a/b", "line 2: revision: is missing; write the commit"),
        ("  - {hub: a/b, revision: v1}", "line 2: revision: 'v1' may move; write the commit, all 40 digits"),
        ("  - {hub: a/b, revision: v1}", "`git ls-remote https://huggingface.co/datasets/a/b v1` prints it"),
        ("  - {hub: a/b, revision: 0123abc}", "revision: '0123abc' may move"),
        ("  - {files: x/a.jsonl}\n  - {files: y/A.csv}", "sources: several are called a; give each a name of its own"),
        ("  - {files: a.jsonl, weight: 0}\n  - {files: b.jsonl, weight: 0}", "every weight is 0"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_with_the_line_and_what_it_takes(sources, message):
    error = refused(mixture(sources), "is not a list of sources")
    assert message in error.problem
    assert error.where == "mix/sources.yaml"
    assert "files: chats.jsonl" in error.hint


def test_everything_wrong_in_a_list_is_told_at_once():
    error = refused(mixture("  - {files: a, weight: x}\n  - {hub: a}\n  - {recipe: 3, taks: b}\n"), "not a list")
    assert [line.split(":")[0] + line.split(":")[1] for line in error.problem.splitlines()[1:]] == [
        "  line 2 weight", "  line 3 hub", "  line 3 revision", "  line 4 recipe", "  line 4 taks",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources:\n\t- files: a", "is not valid YAML: found character '\\\\t' that cannot start any token"),
        ("sources: []\nsources: []", "is not valid YAML: found duplicate key"),
        ('sources:\n- hub: a/b\n  revision: "\\ud800"', "has half of a surrogate pair in it"),
        pytest.param("[" * 20000, "is not valid YAML: nested too deeply", marks=pytest.mark.slow),
        (LAUGHS, "is not a list of sources"),
        ("sources: !!python/object/apply:os.getcwd []", "is not a list of sources"),
        ("# " + "x" * (5 << 20), "is too large"),
        ("sources:\n  - files: \xff".encode("latin-1"), "cannot be read: .*utf-8"),
    ],
)  # fmt: skip
def test_a_hostile_or_broken_list_is_one_clear_error(text, problem):
    Path("mix").mkdir()
    Path("mix/sources.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refused("mix", problem)
    assert len(str(error)) < 6000


@pytest.mark.parametrize("kind", ["files", "recipe", "losses"])
@pytest.mark.parametrize(
    "named", ["../out.jsonl", "{root}/out.jsonl", "sub/../../out.jsonl", "~/out.jsonl", "link.jsonl"]
)
def test_a_file_outside_the_folder_is_refused_with_the_reason(named, kind, workspace):
    write("out.jsonl", "mix/a.jsonl", "mix/sub/b.jsonl")
    Path("mix/link.jsonl").symlink_to(workspace / "out.jsonl")
    named = named.format(root=workspace)
    entry = f"files: a.jsonl\n    losses: {named}" if kind == "losses" else f"{kind}: {named}"
    reason = "queued experiments" if named == "link.jsonl" else "DVC, which watches only this folder"
    error = refused(mixture(f"  - {entry}\n"), f"outside this folder, and .*{reason}")
    assert error.where == "mix"
    assert "move or copy it into mix" in error.hint


@pytest.mark.parametrize("named", ["../*.jsonl", "/etc/*.jsonl"])
def test_a_pattern_outside_the_folder_is_refused(named):
    write("out.jsonl")
    refused(mixture(f"  - files: {named}\n"), "outside this folder")


def test_a_folder_linked_to_from_inside_is_refused():
    write("elsewhere/a.jsonl", "mix/b.jsonl")
    Path("mix/sub").symlink_to(Path("elsewhere").absolute())
    refused(mixture("  - files: sub\n"), "outside this folder, and DVC, which does not look into linked folders")


def test_a_link_that_stays_inside_is_followed():
    write("mix/a.jsonl")
    Path("mix/b.jsonl").symlink_to("a.jsonl")
    (source,) = parse(mixture("  - files: b.jsonl\n"), "all")
    assert source.own_files == (Path("mix/b.jsonl"),)


def test_missing_files_of_several_sources_are_told_at_once():
    write("mix/a.jsonl")
    error = refused(
        mixture("  - files: a.jsonl\n  - files: b.jsonl\n  - {files: a.jsonl, losses: c.jsonl, name: c}\n"),
        "2 problems",
    )
    assert error.problem.splitlines()[0] == "2 problems"
    assert "there is no b.jsonl in this folder" in error.problem
    assert "there is no c.jsonl in this folder" in error.problem


def test_a_file_that_two_sources_read_is_refused():
    write("mix/a.jsonl", "mix/b.jsonl")
    error = refused(
        mixture("  - {files: '*.jsonl', name: all}\n  - files: a.jsonl\n"), "a.jsonl belongs to a and to all"
    )
    assert error.where == "mix/sources.yaml"


def test_a_file_of_losses_is_not_read_as_data():
    write("mix/a.jsonl", "mix/losses.jsonl")
    error = refused(mixture("  - {files: '*.jsonl', name: all, losses: losses.jsonl}\n"), "and to the losses of all")
    assert "no file in common" in error.hint


def test_an_empty_file_in_a_mixture_is_refused():
    write("mix/a.jsonl", text="")
    assert refused(mixture("  - files: a.jsonl\n"), "is empty").where == "mix/a.jsonl"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file():
    write("mix/a[1].jsonl", "mix/a1.jsonl")
    (source,) = parse(mixture("  - files: a[1].jsonl\n"), "all")
    assert source.own_files == (Path("mix/a[1].jsonl"),)


def test_a_list_under_the_other_ending_is_not_passed_over_in_silence():
    write("mix/a.jsonl", "mix/sources.yml")
    assert "`mv`" in refused("mix", "holds sources.yml; only sources.yaml is read").hint


@pytest.mark.parametrize("folder", [".", "data"])
def test_a_folder_that_the_build_writes_into_is_refused(folder):
    write("data/raw/old.jsonl", "data/chats.jsonl")
    refused(folder, "holds data/raw, which the build itself writes")


@pytest.mark.parametrize(
    "name",
    ["org/some-chats", "org/Some_Chats.v1.2", "https://huggingface.co/datasets/org/x/", "hf://datasets/org/x"],
)
def test_a_data_set_of_the_hub_shows_the_lines_to_write(name):
    error = refused(name, "a data set of the Hugging Face hub needs its commit")
    hub_id = "org/x" if ":" in name else name
    assert f"    sources:\n      - hub: {hub_id}\n        revision: 0123…" in error.hint
    assert f"git ls-remote https://huggingface.co/datasets/{hub_id} main" in error.hint
    assert error.where == name


@pytest.mark.parametrize("name", ["https://example.org/chats.jsonl", "s3://bucket/chats.jsonl"])
def test_an_address_is_told_to_be_downloaded_first(name):
    error = refused(name, "is an address, and nothing is downloaded from one")
    assert f"curl -LO '{name}'" in error.hint


@pytest.mark.parametrize("name", ["chats.jsonl", "org/chats.jsonl", "here/chats", "a/b/c", "chats"])
def test_a_missing_file_is_just_missing(name):
    Path("here").mkdir()
    assert refused(name, "there is no such file$|there is no such file\nhint").where == name


def test_the_lines_that_the_error_shows_are_right(tmp_path):
    hint = refused("org/some-chats", "needs its commit").hint
    lines = hint.splitlines()[1:]
    write("hub.yaml", text="\n".join(lines).replace("0123…", COMMIT))
    (source,) = parse("hub.yaml", "all")
    assert source == Wanted("some-chats", HubData("org/some-chats", COMMIT, "all"))


def test_a_closed_file_is_refused(monkeypatch):
    write("chats.jsonl")
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused("chats.jsonl", "cannot be read: Permission denied")
