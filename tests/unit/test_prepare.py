import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ollamake import params
from ollamake.data.sorting import SPLITS, sort_rows
from ollamake.data.split import Fractions
from ollamake.errors import DataError
from ollamake.files import read_jsonl
from stages import prepare

REPOSITORY = Path(__file__).parents[2]
DEFAULTS = {
    "max_rejected_fraction": 0.2,
    "probe_fraction": 0.03,
    "split_seed": 1,
    "test_fraction": 0.1,
    "val_fraction": 0.1,
}
PARAMS = prepare.Params(**DEFAULTS)
GOOD = [{"instruction": f"do {number}", "output": f"run {number}"} for number in range(300)]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/source.json").write_text('{"path": "chats.jsonl"}')
    return tmp_path


def write(rows):
    Path("chats.jsonl").write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def prepared():
    return {name: read_jsonl(Path(f"data/prepared/{name}.jsonl")) for name in SPLITS}


def metrics():
    return json.loads(Path("metrics/prepare.json").read_text())


def test_every_row_is_in_one_split_in_the_order_of_the_source(workspace):
    write(GOOD)
    prepare.main(PARAMS)
    splits = prepared()
    places = {name: [int(row["messages"][0]["content"].split()[1]) for row in rows] for name, rows in splits.items()}
    assert all(found == sorted(found) for found in places.values())
    assert sorted(place for found in places.values() for place in found) == list(range(300))
    assert metrics()["kept"] == {name: len(rows) for name, rows in splits.items()}
    assert metrics()["rows"] == 300


def test_a_row_has_the_agreed_fields_and_an_id_by_its_content(workspace):
    write([{**GOOD[0], "source": "eg"}, *GOOD[1:]])
    prepare.main(PARAMS)
    rows = {row["messages"][0]["content"]: row for rows in prepared().values() for row in rows}
    assert rows["do 0"]["source"] == "eg"
    assert rows["do 1"] == {
        "id": rows["do 1"]["id"],
        "messages": [{"role": "user", "content": "do 1"}, {"role": "assistant", "content": "run 1"}],
    }
    assert len({row["id"] for row in rows.values()}) == 300
    assert all(len(bytes.fromhex(row["id"])) == 8 for row in rows.values())


def test_the_same_rows_give_the_same_bytes(workspace):
    write(GOOD)
    first = []
    for _ in range(2):
        prepare.main(PARAMS)
        first.append([Path(f"data/prepared/{name}.jsonl").read_bytes() for name in SPLITS])
    assert first[0] == first[1]


def test_what_is_rejected_repaired_or_repeated_is_counted(workspace):
    bad = ['{"instruction"', {"instruction": "a"}, {"instruction": "a", "output": 1}, {"instruction": "b"}]
    same = [GOOD[0], {"prompt": " do 0", "completion": "run 0\n"}]
    write([*GOOD, *bad, *same])
    prepare.main(PARAMS)
    assert metrics() == {
        "rows": 306,
        "kept": {name: len(rows) for name, rows in prepared().items()},
        "duplicates": 2,
        "rejected_fraction": round(4 / 306, 6),
        "rejected": {"not valid JSON": 1, "output is missing": 2, "output is not text": 1},
        "repaired": {},
        "ignored_fields": {},
    }


def test_fields_that_are_not_used_are_counted(workspace):
    write([{**row, "notes": "lost"} for row in GOOD[:5]] + GOOD[5:])
    prepare.main(PARAMS)
    assert metrics()["ignored_fields"] == {"notes": 5}


def test_a_source_that_no_file_can_hold_is_rejected(workspace):
    write([{**GOOD[0], "source": "\ud800"}, *GOOD[1:]])
    prepare.main(PARAMS)
    assert metrics()["rejected"] == {"half of a surrogate pair": 1}


def test_a_repair_is_counted_once_a_row(workspace):
    write([*GOOD, {"instruction": " a ", "output": " b "}])
    prepare.main(PARAMS)
    assert metrics()["repaired"] == {"outer white space": 1}


def test_two_answers_to_one_prompt_stay_and_stay_together(workspace):
    answers = [{"instruction": spelled, "output": str(n)} for n, spelled in enumerate(["Do it", "do it", " Do\n it"])]
    write([*GOOD, *answers])
    prepare.main(PARAMS)
    homes = {name for name, rows in prepared().items() for row in rows if "it" in row["messages"][0]["content"].split()}
    assert len(homes) == 1
    assert metrics()["duplicates"] == 0


@pytest.mark.parametrize(
    ("rows", "where", "texts"),
    [
        ([], "chats.jsonl", ["is empty"]),
        (["", ""], "chats.jsonl", ["holds no rows, only blank lines"]),
        (GOOD[:1], "chats.jsonl", ["too few rows: 1 different of 1 leave nothing for"]),
        (GOOD[:1] * 500, "chats.jsonl", ["too few rows: 1 different of 500 leave nothing for"]),
        ([{"x": 1}] * 3, "chats.jsonl", ["3 of 3 rows cannot be used", "3 × none of the known fields: lines 1, 2, 3"]),
        (
            [*GOOD, *["{"] * 100],
            "chats.jsonl",
            ["100 of 400 rows cannot be used (25.0%, and max_rejected_fraction is 20.0%)", "lines 301, 302,"],
        ),
    ],
)
def test_unusable_data_fails_the_build_with_one_error_and_leaves_nothing(workspace, rows, where, texts):
    write(rows)
    with pytest.raises(DataError) as error:
        prepare.main(PARAMS)
    assert error.value.where == where
    assert error.value.hint
    for text in texts:
        assert text in error.value.problem
    assert os.listdir("data") == ["raw"]
    assert not Path("metrics").exists()


def test_a_failure_leaves_the_earlier_splits(workspace):
    write(GOOD)
    prepare.main(PARAMS)
    before = prepared()
    write(["{"])
    with pytest.raises(DataError):
        prepare.main(PARAMS)
    assert prepared() == before


def test_bad_rows_within_the_limit_do_not_stop_the_build(workspace):
    write([*GOOD, *["{"] * 75])
    prepare.main(PARAMS)
    assert metrics()["rejected_fraction"] == 0.2


def test_fractions_that_leave_nothing_to_train_on_are_refused_by_name():
    found = params.findings({**DEFAULTS, "val_fraction": 0.9}, {"prepare": prepare.Params})
    (problem,) = found
    assert "val_fraction + test_fraction + probe_fraction is 1.03, nothing is left to train on" in problem


@pytest.mark.parametrize("key", ["val_fraction", "test_fraction", "probe_fraction"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), "0.1"])
def test_a_fraction_must_leave_some_on_both_sides(key, value):
    assert params.findings({**DEFAULTS, key: value}, {"prepare": prepare.Params})


def test_preparing_the_data_imports_no_heavy_library():
    heavy = ["torch", "transformers", "pandas", "numpy", "pyarrow", "datasets"]
    code = f"import sys, stages.prepare, stages.collect; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_are_read_one_at_a_time():
    out = {name: io.StringIO() for name in SPLITS}

    def source():
        for number in range(1, 101):
            yield number, GOOD[number]
            assert sum(len(stream.getvalue().splitlines()) for stream in out.values()) == number

    tally = sort_rows(source(), out, Fractions(probe=0.1, test=0.1, val=0.1), seed=1)
    assert tally.rows == 100
