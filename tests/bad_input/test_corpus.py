"""Each bad data file through collect and prepare, to the verdict that the table of R5 gives for it."""

import json
import os
from pathlib import Path

import pytest

from ollamake.errors import DataError
from stages import collect, prepare
from tests.bad_input.corpus import FILES
from tests.bad_input.test_content import PARAMS
from tests.bad_input.verdicts import DROPPED, KEPT, REFUSED

pytestmark = pytest.mark.row("R5")
# How many of the rows are kept, and why the others are dropped; or why all is refused.
EXPECTED: dict[int, tuple[int, dict[str, int]] | str] = {
    1: "is empty",
    2: "holds no rows",
    3: (60, {}),
    4: (59, {"not valid JSON": 1}),
    5: (60, {}),
    6: "is UTF-16 text",
    7: (60, {"not valid UTF-8": 1}),
    8: (60, {"half of a surrogate pair": 1}),
    9: (60, {"a NUL character": 1}),
    10: (60, {"not valid JSON": 1}),
    11: (61, {}),
    12: (60, {"a line of more than 16 MB": 1}),
    13: (60, {"JSON nested too deeply": 1}),
    14: (60, {"a key that stands twice": 1}),
    15: (60, {"a number that is too large": 1}),
    16: (61, {}),
    17: (60, {}),
    32: "its end is not that of a Parquet file",
    33: "holds no rows",
    34: (60, {}),
    35: (61, {}),
    36: "unpacks to more than 100 times its size",
    37: (60, {"more or fewer cells than the header": 1}),
    38: "the header names no known field",
    39: "is a Python pickle, which is never loaded here",
    40: "holds, inside gzip, what is a PNG picture",
    41: "unpacks to more than 100 times its size",
    42: "is a zip archive",
    43: "is a symbolic link that leads out of the folder",
    44: "is a FIFO, not a file",
    47: (60, {}),
    48: "differs from",
}
# The verdict is what is expected here, {}; where it is for one form of several, or says more, in what words.
WORDS: dict[int, tuple[str, ...]] = {
    5: ("repaired: left out",),
    10: (f"CRLF {KEPT}", "lone CR: {}"),
    37: (KEPT, "ragged: {}"),
    38: ("any other: {}",),
    39: ("as data: {}",),
}


def held(number):
    """The input with its mark, which names the verdicts that the test holds it to."""
    expected = EXPECTED[number]
    verdict = REFUSED if isinstance(expected, str) else DROPPED if expected[1] else KEPT
    verdicts = [words.format(verdict) for words in WORDS.get(number, ("{}",))]
    return pytest.param(number, marks=pytest.mark.r5(number, *verdicts))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    return tmp_path / "mine"


def make(number, folder):
    made = FILES[number]
    if callable(made):
        made(folder)
    else:
        name, content = made
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("number", [held(number) for number in FILES])
def test_a_bad_file_comes_to_its_verdict_in_collect_and_prepare(number, folder):
    make(number, folder)
    expected = EXPECTED[number]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as raised:
            build()
        assert "mine" in raised.value.where
        assert raised.value.hint
        left = {file.name for file in Path().rglob("*") if file.is_file() and not file.is_relative_to("mine")}
        assert left - {"secret.jsonl"} <= {"source.json"}  # of collect, whose work was done
    else:
        metrics = build()
        assert (metrics["rows"] - sum(metrics["rejected"].values()), metrics["rejected"]) == expected
    assert not [path for path in folder.parent.rglob("owned*") if path != folder]
    assert folder.is_dir()


def build():
    collect.main(collect.Params(data_files="all", data_source="mine"))
    prepare.main(PARAMS)
    assert sorted(os.listdir("data/prepared")) == ["probe.jsonl", "report.md", "test.jsonl", "train.jsonl", "val.jsonl"]
    return json.loads(Path("metrics/prepare.json").read_text())
