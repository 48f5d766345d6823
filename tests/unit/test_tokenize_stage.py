import hashlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from ollamake import parallel
from ollamake.errors import DataError, ParamsError
from ollamake.files import read_json
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens import blocks
from ollamake.tokens.judge import ADVICE
from ollamake.tokens.tables import SCHEMA
from tests.contract.graph import ROOT
from tests.unit.tokenizing import ANSWER, QUESTION, read, row, run

LONG = {"role": "assistant", "content": "x " * 200}


@pytest.fixture
def tokenize(tmp_path, tiny_base, monkeypatch):
    def made(*train, **changes):
        run(tmp_path, tiny_base, monkeypatch, train, **changes)
        return tmp_path

    return made


def test_the_columns_are_those_that_later_stages_read(tokenize):
    folder = tokenize(row(7, task="shell"), row(8))
    with pa.memory_map(str(folder / "data/tokenized/train.arrow")) as source:
        assert pa.ipc.open_file(source).schema == SCHEMA
    first, second = read(folder, "train")
    assert (first["id"], first["task"], second["task"]) == ("0007", "shell", "")
    assert (first["prompt"], first["reference"]) == ("list files 7", "ls -l")
    labels = [IGNORE_INDEX] * first["prompt_length"] + first["input_ids"][first["prompt_length"] :]
    assert first["labels"][:-1] == labels[:-1]  # but the newline behind the end


def test_what_is_left_out_is_counted_by_its_reason_and_said(tokenize, capsys):
    typed = row(3, {"role": "user", "content": "<|im_start|>"}, ANSWER)
    folder = tokenize(row(1), row(2, QUESTION, LONG), typed, row(4), row(5))
    assert [one["id"] for one in read(folder, "train")] == ["0001", "0004", "0005"]
    metrics = read_json(folder / "metrics/tokenize.json")["train"]
    assert metrics["dropped"] == {"control token in the text": 1, "longer than max_length": 1}
    said = "train: 3 of 5 rows, 1 × longer than max_length (such as 0002), 1 × control token in the text (such as 0003)"
    assert capsys.readouterr().out.splitlines()[0] == said


def test_the_metrics_are_those_of_the_rows(tokenize):
    folder = tokenize(*(row(number) for number in range(100)), row(100, QUESTION, {**ANSWER, "content": "ls -la / ."}))
    rows = read(folder, "train")
    lengths = [len(one["input_ids"]) for one in rows]
    metrics = read_json(folder / "metrics/tokenize.json")["train"]
    assert metrics["tokens"] == sum(lengths)
    assert metrics["supervised_tokens"] == sum(label != IGNORE_INDEX for one in rows for label in one["labels"])
    assert (metrics["length_p50"], metrics["length_max"]) == (sorted(lengths)[50], max(lengths))
    assert metrics["length_p95"] == sorted(lengths)[101 * 95 // 100]
    header, *bins = (folder / "plots/tokenize/lengths.csv").read_text().splitlines()
    assert header == "tokens,conversations"
    assert sum(int(line.split(",")[1]) for line in bins) == len(rows)


def test_changed_rows_are_counted(tokenize, capsys):
    many = [message for _ in range(6) for message in (QUESTION, ANSWER)]
    text = {"id": "t", "text": "word " * 100}
    folder = tokenize(row(1, *many), text, max_length=64, too_long="truncate_left")
    metrics = read_json(folder / "metrics/tokenize.json")["train"]
    assert (metrics["truncated"], metrics["split"], metrics["turn_by_turn"], metrics["dropped"]) == (1, 1, 0, {})
    assert capsys.readouterr().out.startswith("train: 3 of 3 rows, 1 cut to max_length, 1 texts in several rows\n")
    assert [one["id"] for one in read(folder, "train")] == ["0001", "t", "t/2"]


def test_a_conversation_turn_by_turn_has_an_id_for_each(tokenize):
    melting = row(1, QUESTION, {**ANSWER, "content": "\n\nls"}, QUESTION, ANSWER, QUESTION, ANSWER)
    folder = tokenize(melting, row(2), row(3), max_length=128)
    assert [one["id"] for one in read(folder, "train")] == ["0001/2", "0001/3", "0002", "0003"]
    metrics = read_json(folder / "metrics/tokenize.json")["train"]
    assert metrics["turn_by_turn"] == 1
    assert metrics["dropped"] == {"prompt and answer share a token": 1}


def test_a_text_is_learnt_whole_and_can_be_scored(tokenize):
    folder = tokenize(row(1), {"id": "t", "text": "Once upon a time", "task": "story"})
    text = read(folder, "train")[1]
    assert text["labels"] == [IGNORE_INDEX, *text["input_ids"][1:]]
    assert text["input_ids"][-1] == 2
    assert text["prompt"] + text["reference"] == "Once upon a time"
    assert (text["task"], text["prompt_length"]) == ("story", len(text["input_ids"]) // 2)


def test_packs_hold_every_row_once_within_max_length(tokenize):
    folder = tokenize(*(row(number) for number in range(50)), packing=True, max_length=100)
    rows, packs = read(folder, "train"), read(folder, "packs")
    assert sorted(index for pack in packs for index in pack["rows"]) == list(range(50))
    filled = [sum(len(rows[index]["input_ids"]) for index in pack["rows"]) for pack in packs]
    assert max(filled) <= 100
    metrics = read_json(folder / "metrics/tokenize.json")["train"]
    assert metrics["packs"] == {"rows": len(packs), "fill": round(float(np.mean(filled)) / 100, 4)}


def test_without_packing_there_are_no_packs(tokenize):
    folder = tokenize(row(1))
    assert read(folder, "packs") == []
    assert "packs" not in read_json(folder / "metrics/tokenize.json")["train"]


def test_the_bytes_do_not_depend_on_the_number_of_processes(tokenize, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2000)
    digests = {}
    for cores in (1, 2):
        monkeypatch.setattr(parallel, "cores", lambda cores=cores: cores)
        folder = tokenize(*(row(number) for number in range(400)), packing=True)
        files = sorted((folder / "data/tokenized").iterdir())
        digests[cores] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert list(digests[1]) == ["packs.arrow", "test.arrow", "train.arrow", "val.arrow"]
    assert digests[1] == digests[2]


def test_a_split_that_loses_too_many_rows_is_refused_and_nothing_is_left_behind(tokenize, tmp_path):
    with pytest.raises(DataError, match=r"train: 1 of 2 rows, 1 × longer than max_length \(such as 0002\)") as raised:
        tokenize(row(1), row(2, QUESTION, LONG), max_rejected_fraction=0.4)
    assert raised.value.hint == ADVICE["longer than max_length"]
    assert not (tmp_path / "data/tokenized").exists()
    assert not (tmp_path / "metrics/tokenize.json").exists()
    tokenize(row(1), row(2, QUESTION, LONG), max_rejected_fraction=0.5)


def test_an_empty_split_is_refused(tokenize):
    with pytest.raises(DataError, match="val: it is empty") as raised:
        tokenize(row(1), val=[])
    assert "raise val_fraction" in raised.value.hint


def test_a_length_that_the_model_was_not_made_for_is_refused(tokenize):
    with pytest.raises(ParamsError, match="max_length is 513, but tiny reads 512 tokens at most"):
        tokenize(row(1), max_length=513)


def test_the_work_of_the_stage_imports_no_heavy_library():
    modules = "stages.tokenize, ollamake.tokens.blocks, ollamake.tokens.tables, ollamake.tokens.judge"
    code = f"import sys, {modules}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert "tokenizers" in loaded
    assert loaded & {"torch", "transformers", "datasets", "huggingface_hub"} == set()
