import json
from collections import Counter
from pathlib import Path

import pytest

from ollamake import preflight
from ollamake.collect import recipe
from ollamake.collect.commands import programs
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


def test_the_users_own_file_is_named_not_copied(workspace):
    Path("chats.jsonl").write_text("{}\n")
    collect.main(collect.Params(data_source="chats.jsonl"))
    assert source() == {"path": "chats.jsonl", "license": "", "origin": []}
    assert [path.name for path in Path("data/raw").iterdir()] == ["source.json"]


def test_the_records_of_an_earlier_recipe_do_not_stay_beside_the_users_file(workspace):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/records.jsonl").touch()
    collect.main(collect.Params(data_source="chats.jsonl"))
    assert not Path("data/raw/records.jsonl").exists()


@pytest.mark.parametrize("folder", ["raw", "prepared", "tokenized"])
def test_a_file_that_the_build_would_delete_is_refused(folder, workspace):
    mine = Path("data", folder, "mine.jsonl")
    mine.parent.mkdir(parents=True)
    mine.write_text("{}\n")
    Path("link.jsonl").symlink_to(mine)
    for name in (str(mine), f"./data/../{mine}", str(mine.absolute()), "link.jsonl"):
        with pytest.raises(DataError, match=f"lies in data/{folder}, which every build replaces") as error:
            collect.main(collect.Params(data_source=name))
        assert "elsewhere" in error.value.hint
        with pytest.raises(DataError, match="which every build replaces"):
            preflight.check({"data_source": name})
    assert mine.read_text() == "{}\n"


@pytest.mark.parametrize("name", ["chats.csv", "chats", "folder/"])
def test_another_kind_of_file_is_refused_with_what_can_be_read(workspace, name):
    with pytest.raises(DataError, match=r"neither a \.jsonl file nor a \.yaml recipe") as error:
        collect.main(collect.Params(data_source=name))
    assert error.value.where == name
    assert not Path("data").exists()


def test_a_failure_leaves_the_earlier_records(workspace, monkeypatch):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/records.jsonl").write_text("old")

    def refuse(*_):
        raise DataError("the package index cannot be reached")

    monkeypatch.setattr(collect, "source_archive", refuse)
    with pytest.raises(DataError):
        collect.main(collect.Params(data_source=str(DEFAULT)))
    assert [path.read_text() for path in Path("data/raw").iterdir()] == ["old"]


def test_the_default_recipe_makes_the_same_thousand_pairs_every_time(workspace):
    collect.main(collect.Params(data_source=str(DEFAULT)))
    first = Path("data/raw/records.jsonl").read_bytes(), source()
    collect.main(collect.Params(data_source=str(DEFAULT)))
    assert (Path("data/raw/records.jsonl").read_bytes(), source()) == first
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
