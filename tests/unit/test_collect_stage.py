import json
from collections import Counter
from pathlib import Path

import pytest

from ollamake import preflight
from ollamake.collect import packages, recipe
from ollamake.collect.commands import programs
from ollamake.collect.content import Brought
from ollamake.collect.hub import HubData
from ollamake.collect.index import source_archive
from ollamake.collect.pairs import harvest
from ollamake.collect.sheets import examples
from ollamake.errors import DataError
from stages import collect

REPOSITORY = Path(__file__).parents[2]
DEFAULT = REPOSITORY / "data/sources/command-line.yaml"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(REPOSITORY))  # the downloads are shared with the checkout
    return tmp_path


def source():
    return json.loads(Path("data/raw/source.json").read_text())


def collect_from(data_source, data_files="all"):
    collect.main(collect.Params(data_source=str(data_source), data_files=data_files))


def test_the_users_own_file_is_named_not_copied(workspace):
    Path("chats.jsonl").write_text("{}\n")
    collect_from("chats.jsonl")
    assert source() == {
        "license": "",
        "origin": [],
        "sources": [
            {
                "name": "chats",
                "files": ["chats.jsonl"],
                "shape": "auto",
                "task": "",
                "weight": 1.0,
                "max_examples": 0,
                "losses": "",
            }
        ],
    }
    assert [path.name for path in Path("data/raw").iterdir()] == ["source.json"]


def test_the_records_of_an_earlier_recipe_do_not_stay_beside_the_users_file(workspace):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/command-line.jsonl").touch()
    Path("chats.jsonl").write_text("{}\n")
    collect_from("chats.jsonl")
    assert not Path("data/raw/command-line.jsonl").exists()


@pytest.mark.parametrize("folder", ["raw", "prepared", "tokenized"])
def test_a_file_that_the_build_would_delete_is_refused(folder, workspace):
    mine = Path("data", folder, "mine.jsonl")
    mine.parent.mkdir(parents=True)
    mine.write_text("{}\n")
    Path("link.jsonl").symlink_to(mine)
    for name in (str(mine), f"./data/../{mine}", str(mine.absolute()), "link.jsonl"):
        with pytest.raises(DataError, match=f"lies in data/{folder}, which every build replaces") as error:
            collect_from(name)
        assert "elsewhere" in error.value.hint
        with pytest.raises(DataError, match="which every build replaces"):
            preflight.check({"data_source": name, "data_files": "all"})
    assert mine.read_text() == "{}\n"


def test_data_that_is_not_there_leaves_the_earlier_records(workspace):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/command-line.jsonl").write_text("old")
    with pytest.raises(DataError, match="there is no such file"):
        collect_from("chats.jsonl")
    assert [path.read_text() for path in Path("data/raw").iterdir()] == ["old"]


def test_a_failure_leaves_the_earlier_records(workspace, monkeypatch):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/command-line.jsonl").write_text("old")

    def refuse(*_):
        raise DataError("the package index cannot be reached")

    monkeypatch.setattr(packages, "source_archive", refuse)
    with pytest.raises(DataError):
        collect_from(DEFAULT)
    assert [path.read_text() for path in Path("data/raw").iterdir()] == ["old"]


def test_a_mixture_brings_each_source_and_says_how_to_read_it(workspace, monkeypatch):
    hub_files = {"data/train-0.jsonl": '{"text": "a"}\n', "data/train-1.jsonl": '{"text": "b"}\n'}

    def bring(self, name, raw, downloads):
        for file, text in hub_files.items():
            (raw / name / file).parent.mkdir(parents=True, exist_ok=True)
            (raw / name / file).write_text(text)
        return Brought([raw / name / file for file in hub_files], f"{self.hub_id}: mit", [{"hub": self.hub_id}])

    monkeypatch.setattr(HubData, "bring", bring)
    Path("mix").mkdir()
    Path("mix/chats.jsonl").write_text("{}\n")
    Path("mix/losses.jsonl").write_text("{}\n")
    Path("mix/recipe.yaml").write_text(DEFAULT.read_text())
    Path("mix/sources.yaml").write_text(f"""
sources:
  - files: chats.jsonl
    task: chat
    losses: losses.jsonl
  - hub: org/name
    revision: {"0a" * 20}
    weight: 2
  - recipe: recipe.yaml
    name: shell
    max_examples: 100
""")
    collect_from("mix")
    written = source()
    assert [(listed["name"], listed["files"]) for listed in written["sources"]] == [
        ("chats", ["mix/chats.jsonl"]),
        ("name", [f"data/raw/name/{file}" for file in hub_files]),
        ("shell", ["data/raw/shell.jsonl"]),
    ]
    assert [(listed["weight"], listed["max_examples"]) for listed in written["sources"]] == [(1, 0), (2, 0), (1, 100)]
    assert [(listed["task"], listed["losses"]) for listed in written["sources"][:2]] == [
        ("chat", "mix/losses.jsonl"),
        ("", ""),
    ]
    assert all(Path(file).is_file() for listed in written["sources"] for file in listed["files"])
    assert written["license"] == "org/name: mit; eg==1.2.3: MIT; cheat==2.5.1: MIT OR GPL-3.0-only"
    assert [next(iter(origin)) for origin in written["origin"]] == ["hub", "requirement", "requirement"]


def test_the_default_recipe_makes_the_same_thousand_pairs_every_time(workspace):
    made = Path("data/raw/command-line.jsonl")
    collect_from(DEFAULT)
    first = made.read_bytes(), source()
    collect_from(DEFAULT)
    assert (made.read_bytes(), source()) == first
    assert first[1]["sources"][0]["files"] == [str(made)]
    records = [json.loads(line) for line in first[0].splitlines()]
    assert 1200 < len(records) == sum(origin["kept"] for origin in first[1]["origin"])
    assert len({record["instruction"].casefold() for record in records}) == len(records)
    assert not [record for record in records if "\n" in record["output"] or len(record["output"]) > 120]
    # Were every program named, the scores would only show that the model can repeat a name.
    named = sum(record["instruction"].startswith("With ") for record in records)
    assert 0.3 < named / len(records) < 0.5
    tools = Counter(programs(record["output"])[0] for record in records)
    assert len(tools) > 150


def test_every_judgement_of_the_default_recipe_is_still_about_something():
    wanted = recipe.read(DEFAULT)
    archives = {
        package.requirement: source_archive(package, REPOSITORY / ".ollamake/downloads") for package in wanted.packages
    }
    sheets = {
        example.sheet
        for package in wanted.packages
        for example in examples(archives[package.requirement], package.model_copy(update={"skip": ()}))
    }
    found = harvest(wanted.model_copy(update={"drop": {}}), archives)
    asked = {(pair.source.partition("/")[2], pair.wish.casefold()) for pair in found.pairs}
    openings = [(sheet, opening.casefold()) for sheet, openings in wanted.drop.items() for opening in openings]
    assert len(openings) > 20
    idle = [opening for opening in openings if not any(opening[0] == at and opening[1] in wish for at, wish in asked)]
    assert idle == []
    assert {sheet for package in wanted.packages for sheet in package.skip} <= sheets
    assert {*wanted.drop} <= sheets
    used = {name for pair in found.pairs for name in programs(pair.command)}
    assert {*wanted.telling} <= used
    assert {*wanted.commands} <= used
