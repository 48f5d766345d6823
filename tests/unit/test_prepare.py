import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from ollamake import files, parallel, params
from ollamake.data import gathering
from ollamake.data.formats import reading
from ollamake.data.split import SPLITS
from ollamake.errors import DataError, DiskError
from ollamake.files import read_jsonl
from stages import prepare

REPOSITORY = Path(__file__).parents[2]
DEFAULTS = {
    "max_examples": 0,
    "max_rejected_fraction": 0.2,
    "near_duplicate_threshold": 1.0,
    "probe_fraction": 0.03,
    "row_shape": "auto",
    "split_seed": 1,
    "test_fraction": 0.1,
    "train_order": "random",
    "val_fraction": 0.1,
}
PARAMS = prepare.Params(**DEFAULTS)
GOOD = [{"instruction": f"do {number}", "output": f"run {number}"} for number in range(300)]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mix(source("chats"))
    return tmp_path


def source(name, **more):
    general = {"shape": "auto", "task": "", "weight": 1.0, "max_examples": 0, "losses": ""}
    return {"name": name, "files": [f"{name}.jsonl"], **general, **more}


def mix(*sources):
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/raw/source.json").write_text(json.dumps({"license": "", "origin": [], "sources": sources}))


def write(rows, name="chats.jsonl"):
    Path(name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def run(**changed):
    prepare.main(prepare.Params(**{**DEFAULTS, **changed}))
    return prepared()


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
        "copies": 0,
        "duplicates": 2,
        "near_duplicates": {"groups": 0, "rows": 0, "largest": 0, "dropped": 0},
        "rejected_fraction": round(4 / 306, 6),
        "rejected": {"not valid JSON": 1, "output is missing": 2, "output is not text": 1},
        "repaired": {"outer white space": 1},
        "left_out": {},
        "ignored_fields": {},
        "sources": {"chats": {"rows": 306, "kept": 300}},
        "tasks": {},
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
        (["", ""], "chats.jsonl", ["holds no rows"]),
        (["[]"], "chats.jsonl", ["holds no rows"]),
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
    heavy = ["torch", "transformers", "pandas", "numpy", "pyarrow", "datasets", "orjson"]
    code = f"import sys, stages.prepare, stages.collect; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_parameters_say_which_values_they_take():
    wrong = {"row_shape": "alpaca", "train_order": "field:", "near_duplicate_threshold": 0.4, "max_examples": -1}
    found = params.findings({**DEFAULTS, **wrong}, {"prepare": prepare.Params})
    assert {re.match(r"\w+", problem)[0] for problem in found} == set(wrong)


@pytest.mark.parametrize("order", ["random", "given", "length", "loss", "field:difficulty"])
def test_each_train_order_is_taken(order):
    assert prepare.Params(**{**DEFAULTS, "train_order": order}).train_order == order


def test_the_ids_and_the_splits_of_known_rows_stay_what_they_are(workspace):
    # They are part of what is published: a changed hash renames every row and deals every prompt anew.
    write([{"instruction": f"question {number}", "output": "answer"} for number in range(100)])
    found = {row["messages"][0]["content"]: (row["id"], name) for name, rows in run().items() for row in rows}
    assert found["question 0"] == ("3fe71bac84adbe37", "train")
    assert found["question 12"] == ("99d44d3baf479c0e", "val")


def test_a_row_keeps_its_own_id_unless_another_has_it(workspace):
    rows = [{**GOOD[0], "id": 17}, {**GOOD[1], "id": "17"}, {**GOOD[2], "id": "b"}, {**GOOD[3], "id": [1]}, *GOOD[4:]]
    write(rows)
    ids = {row["messages"][0]["content"]: row["id"] for found in run().values() for row in found}
    assert (ids["do 0"], ids["do 2"]) == ("17", "b")
    assert re.fullmatch("[0-9a-f]{16}", ids["do 1"])
    assert re.fullmatch("[0-9a-f]{16}", ids["do 3"])
    assert len(set(ids.values())) == 300
    assert metrics()["repaired"] == {"an id that another row has": 1, "an unusable id left out": 1}


def test_an_id_that_is_the_content_hash_of_another_row_is_not_kept(workspace):
    write(GOOD)
    taken = next(row["id"] for rows in run().values() for row in rows if row["messages"][0]["content"] == "do 9")
    write([{**GOOD[0], "id": taken}, *GOOD[1:]])
    ids = Counter(row["id"] for rows in run().values() for row in rows)
    assert len(ids) == 300
    assert metrics()["repaired"] == {"an id that another row has": 1}


def test_the_fields_beside_the_content_are_kept_when_given(workspace):
    write([{**GOOD[0], "task": "a", "weight": "2", "source": "b"}, {**GOOD[1], "task": 5, "source": None}, *GOOD[2:]])
    rows = {row["messages"][0]["content"]: row for found in run().values() for row in found}
    assert {key: rows["do 0"][key] for key in ("task", "weight", "source")} == {
        "task": "a",
        "weight": 2.0,
        "source": "b",
    }
    assert set(rows["do 1"]) == {"id", "messages"}
    assert metrics()["tasks"] == {"a": metrics()["copies"] + 1}


def test_a_text_is_a_row_of_its_own_shape(workspace):
    write([{"text": f" text {number}"} for number in range(300)])
    rows = [row for found in run().values() for row in found]
    assert all(set(row) == {"id", "text"} and re.fullmatch(r"text \d+", row["text"]) for row in rows)
    assert len(rows) == 300


def test_a_forced_shape_rejects_rows_of_other_shapes(workspace):
    write([*GOOD, {"text": "a"}])
    run(row_shape="instruction")
    assert metrics()["rejected"] == {"output is missing": 1}
    mix(source("chats", shape="text"))
    with pytest.raises(DataError, match="300 of 301 rows cannot be used") as error:
        run(row_shape="instruction")
    assert "300 × text is missing" in error.value.problem
    assert "the shape is to be text; it has 'instruction', 'output'" in error.value.problem


def test_sources_have_their_tasks_weights_and_limits(workspace):
    mix(
        source("chats", task="sums", weight=2.0),
        source("books", max_examples=50),
        source("logs", files=["log1.jsonl", "log2.jsonl"]),
    )
    write(GOOD)
    write([{"text": f"text {number}", "task": "own"} for number in range(80)], "books.jsonl")
    write([{"prompt": f"p {number}", "completion": "c"} for number in range(10)], "log1.jsonl")
    write([{"prompt": f"p {number}", "completion": "c"} for number in range(10, 30)], "log2.jsonl")
    splits = run(max_examples=20)
    kept = {name: Counter(row["source"] for row in rows) for name, rows in splits.items()}
    training = Counter(row["id"] for row in splits["train"] if row["source"] == "chats")
    assert set(training.values()) == {2}
    assert {name: sum(found[name] for found in kept.values()) for name in ("books", "logs")} == {
        "books": 50,
        "logs": 20,
    }
    assert metrics()["sources"] == {
        "chats": {"rows": 300, "kept": 20 + len(training)},
        "books": {"rows": 80, "kept": 50},
        "logs": {"rows": 30, "kept": 20},
    }
    assert metrics()["tasks"] == {"sums": 20 + len(training), "own": 50}
    assert metrics()["copies"] == len(training)
    assert metrics()["left_out"] == {"beyond max_examples": 280 + 30 + 10}
    assert {row["task"] for rows in splits.values() for row in rows if row["source"] == "chats"} == {"sums"}


def test_a_weight_of_zero_is_for_training_only(workspace):
    write([{**row, "weight": 0} for row in GOOD[:150]] + GOOD[150:])
    splits = run()
    assert all(row.get("weight") is None for row in splits["train"])
    assert any(row.get("weight") == 0 for row in splits["val"])
    assert metrics()["left_out"] == {"a weight below 1": 300 - sum(map(len, splits.values()))}


def test_a_fraction_of_a_weight_is_drawn_by_the_content(workspace):
    write([{**row, "weight": 1.5} for row in GOOD])
    times = Counter(Counter(row["id"] for row in run()["train"]).values())
    assert set(times) == {1, 2}
    assert 0.35 < times[2] / times.total() < 0.65
    # Those that max_examples leaves have the smallest hashes; the draw must not be made by the same number.
    times = Counter(Counter(row["id"] for row in run(max_examples=150)["train"]).values())
    assert 0.3 < times[2] / times.total() < 0.7


@pytest.mark.parametrize("weight", [-1, 101, "heavy", True, [], "nan", 1e400])
def test_a_weight_that_is_none_rejects_the_row(workspace, weight):
    write([*GOOD, json.dumps({"instruction": "a", "output": "b", "weight": weight})])
    run()
    assert sum(metrics()["rejected"].values()) == 1


@pytest.mark.parametrize(("order", "key"), [("length", "length"), ("field:hard", "hard")])
def test_training_rows_stand_in_the_order_asked_for_and_no_others_do(workspace, order, key):
    rows = [{**row, "output": "x" * (number * 7 % 300 + 1), "hard": -number} for number, row in enumerate(GOOD)]
    write(rows)
    given = {name: [row["id"] for row in found] for name, found in run(train_order="given").items()}
    hard = {row["instruction"]: row["hard"] for row in rows}
    splits = run(train_order=order)
    size = {"length": lambda row: sum(len(message["content"]) for message in row["messages"])}
    sizes = [size.get(key, lambda row: hard[row["messages"][0]["content"]])(row) for row in splits["train"]]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 100
    for name in ("val", "test", "probe"):
        assert [row["id"] for row in splits[name]] == given[name]
    assert sorted(row["id"] for row in splits["train"]) == sorted(given["train"])


def test_a_row_without_the_number_to_order_by_is_rejected(workspace):
    write([*({**row, "hard": str(number)} for number, row in enumerate(GOOD)), {"instruction": "a", "output": "b"}])
    run(train_order="field:hard")
    assert metrics()["rejected"] == {"hard is not a number": 1}


def test_losses_order_the_training_rows_by_their_ids(workspace):
    write([{**GOOD[0], "id": "mine"}, *GOOD[1:]])
    mix(source("chats", losses="losses.jsonl"))
    ids = [row["id"] for row in run()["train"]]
    assert "mine" in ids
    write([{"id": name, "loss": -place} for place, name in enumerate(ids)], "losses.jsonl")
    assert [row["id"] for row in run(train_order="loss")["train"]] == ids[::-1]


def test_losses_stand_in_a_csv_file_as_well(workspace):
    write(GOOD)
    mix(source("chats", losses="losses.csv"))
    ids = [row["id"] for row in run()["train"]]
    write(["id,loss", *(f"{name},{-place}" for place, name in enumerate(ids))], "losses.csv")
    assert [row["id"] for row in run(train_order="loss")["train"]] == ids[::-1]


def test_a_row_beyond_the_limit_of_its_source_is_taken_from_another_that_has_it_too(workspace):
    write([*GOOD, *GOOD])
    write(GOOD, "books.jsonl")
    mix(source("chats", max_examples=20), source("books"))
    assert sum(map(len, run().values())) == 300
    assert metrics()["sources"] == {"chats": {"rows": 600, "kept": 20}, "books": {"rows": 300, "kept": 280}}
    assert metrics()["left_out"] == {"beyond max_examples": 2 * 280}
    assert metrics()["duplicates"] == 2 * 20


def test_a_training_row_without_a_loss_is_an_error_that_names_it(workspace):
    write(GOOD)
    with pytest.raises(
        DataError, match=r"train_order is loss, and \d+ of \d+ training rows have none: chats.jsonl, line"
    ):
        run(train_order="loss")
    mix(source("chats", losses="losses.jsonl"))
    write([{"id": "a", "loss": 1}, {"id": "b", "loss": "low"}], "losses.jsonl")
    with pytest.raises(DataError, match="loss is not a number") as error:
        run(train_order="loss")
    assert error.value.where == "losses.jsonl, line 2"
    assert os.listdir("data") == ["raw"]


LONG = " ".join(f"word{number}" for number in range(60))


def test_near_duplicates_lie_in_one_split_and_are_dropped_only_with_the_same_answer(workspace):
    near = [
        {"instruction": f"{LONG} {end}", "output": answer} for end, answer in [("a", 1), ("b", 1), ("c", 2), ("d", 3)]
    ]
    write([*GOOD, *({**row, "output": str(row["output"])} for row in near)])
    splits = run(near_duplicate_threshold=0.8)
    homes = [(name, row) for name, rows in splits.items() for row in rows if "word1" in row["messages"][0]["content"]]
    assert len({name for name, _ in homes}) == 1
    assert [row["messages"][0]["content"][-1] for _, row in homes] == ["a", "c", "d"]
    assert metrics()["near_duplicates"] == {"groups": 1, "rows": 3, "largest": 3, "dropped": 1}
    assert "line 302 (as chats.jsonl, line 301)" in Path("data/prepared/report.md").read_text()
    assert len([row for rows in run(near_duplicate_threshold=1.0).values() for row in rows]) == 304


def test_a_row_is_dropped_only_beside_one_like_it_that_stays(workspace):
    # The second prompt is like the first and like the third, which are not like each other.
    words = [f"word{number}" for number in range(60)]
    second = [f"new {word}" if word.endswith("3") else word for word in words]
    third = [f"newer {word}" if word.endswith("8") else word for word in second]
    chain = [" ".join(some) for some in (words, second, third)]
    write([*GOOD, *({"instruction": text, "output": "same"} for text in chain)])
    splits = run(near_duplicate_threshold=0.5)
    kept = {row["messages"][0]["content"] for rows in splits.values() for row in rows}
    assert kept & set(chain) == {chain[0], chain[2]}
    assert metrics()["near_duplicates"]["dropped"] == 1


def test_a_system_message_in_common_makes_no_near_duplicates(workspace):
    write([{**row, "system": LONG} for row in GOOD])
    run(near_duplicate_threshold=0.8)
    assert metrics()["near_duplicates"]["groups"] == 0


def test_one_group_that_leaves_nothing_for_the_other_splits_is_named(workspace):
    write([{"instruction": f"{LONG} {number}", "output": str(number)} for number in range(300)])
    with pytest.raises(DataError, match="too few rows: 300 different of 300 leave nothing for") as error:
        run(near_duplicate_threshold=0.8)
    assert "300 of them are near duplicates and stay in one split: raise near_duplicate_threshold" in error.value.hint


def test_the_report_names_the_first_ten_rows_of_each_reason(workspace):
    write([*GOOD, *['{"instruction": "a\\u0007`"}'] * 12, GOOD[0]])
    run()
    report = Path("data/prepared/report.md").read_text()
    assert "313 rows from 1 file: 300 in the splits, 1 left out, 12 (3.8%) unusable." in report
    assert "### output is missing: 12 rows" in report
    assert report.count('(beside instruction): `` {"instruction": "a\\u0007`"} ``') == 10
    assert "- … and 2 more" in report
    assert "- `chats.jsonl`, line 313 (as chats.jsonl, line 1): `do 0`" in report


def test_an_error_over_several_files_names_them(workspace):
    mix(source("both", files=["a.jsonl", "b.jsonl"]))
    write(GOOD, "a.jsonl")
    write(["{"] * 100, "b.jsonl")
    with pytest.raises(DataError, match="100 × not valid JSON: b.jsonl lines 1, 2, 3, 4, 5 and 95 more") as error:
        run()
    assert error.value.where == str(workspace)


def test_a_source_file_that_is_gone_is_said_before_any_is_read(workspace):
    mix(source("chats"), source("gone"))
    write(GOOD)
    with pytest.raises(DataError, match="cannot be read: No such file or directory") as error:
        run()
    assert error.value.where == "gone.jsonl"


def test_a_disk_without_room_is_said_before_any_work(workspace, monkeypatch):
    write(GOOD)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(DiskError, match="preparing the data needs 0 MB"):
        run()
    assert os.listdir("data") == ["raw"]


def test_the_bytes_do_not_depend_on_how_the_files_are_cut_or_by_how_many_they_are_read(workspace, monkeypatch):
    rows = [*GOOD, GOOD[0], {"instruction": "a"}, {"text": LONG}, {"text": LONG + " x"}, {**GOOD[5], "task": "a"}]
    write([{**row, "task": f"t{number % 7}", "weight": number % 3} for number, row in enumerate(rows)] + ["{"] * 20)
    found = set()
    for block_bytes, workers in ((1 << 22, 1), (1 << 10, 1), (1 << 10, 2), (777, 1)):
        monkeypatch.setattr(gathering, "chunks", partial(reading.chunks, block_bytes=block_bytes))
        monkeypatch.setattr(gathering, "in_order", partial(parallel.in_order, workers=workers))
        run(near_duplicate_threshold=0.8, train_order="length")
        outputs = [*sorted(Path("data/prepared").iterdir()), Path("metrics/prepare.json")]
        found.add(tuple(path.read_bytes() for path in outputs))
    assert len(found) == 1


def test_a_build_that_is_killed_leaves_no_scratch_files(workspace):
    write(GOOD * 3)
    code = (
        "import os, signal; from stages import prepare; from ollamake.data import sorting\n"
        "sorting.deal = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"prepare.main(prepare.Params(**{DEFAULTS}))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == -9
    assert [path.name for path in Path("data").rglob("*") if path.is_file()] == ["source.json"]


def test_rows_that_share_a_template_are_warned_of(workspace, capsys):
    template = " ".join(f"word{number}" for number in range(40))
    write([*GOOD, *({"prompt": f"{template} number {n}", "completion": "yes"} for n in range(100))])
    run(near_duplicate_threshold=0.8)
    assert "warning: 99 rows were dropped" in capsys.readouterr().err
    write(GOOD)
    run(near_duplicate_threshold=0.8)
    assert "warning" not in capsys.readouterr().err
