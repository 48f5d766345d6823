"""Data of several kinds through the whole graph, on the real tools."""

import gzip
import json
import sys

import pytest

from tests.contract.graph import stages
from tests.pipeline.conftest import records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once

MIXTURE = """\
sources:
  - files: wishes.jsonl
    weight: 1.5
  - files: notes/*.csv.gz
    task: notes
    max_examples: 30
  - files: texts.jsonl
"""


@pytest.fixture
def mixture(project):
    folder = project.folder / "data/mixture"
    (folder / "notes").mkdir(parents=True)
    (folder / "sources.yaml").write_text(MIXTURE)
    (folder / "wishes.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records()))
    notes = [f'"what is note {number}?","note {number}\nis {number * 7}"' for number in range(50)]
    with gzip.open(folder / "notes/a.csv.gz", "wt") as stream:
        stream.write("\n".join(["instruction,output", *notes, "torn"]))
    texts = [{"text": f"Chapter {number}. " + " ".join(f"word{number * k}" for k in range(120))} for number in range(8)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    project.run("git", "add", "data/mixture")
    return "data/mixture"


@pytest.mark.nightly
def test_a_mixture_packed_and_in_a_template_of_ones_own_is_trained_and_proved(project, mixture):
    project.set(data_source=mixture, chat_template="chatml", packing=True, train_order="length")
    project.run(sys.executable, "-m", "ollamake", "check")
    assert set(project.repro()) == set(stages())
    prepared, tokenized = project.metrics("prepare"), project.metrics("tokenize")
    assert {name: source["rows"] for name, source in prepared["sources"].items()} == {
        "wishes": len(records()), "notes": 51, "texts": 8,
    }  # fmt: skip
    assert prepared["rejected"] == {"more or fewer cells than the header": 1}
    assert (prepared["tasks"], prepared["left_out"]) == ({"notes": 30}, {"beyond max_examples": 20})
    assert tokenized["train"]["split"] > 0
    assert tokenized["train"]["packs"]["rows"] < tokenized["train"]["rows"]
    assert project.metrics("train")["padding_fraction"] < 0.5
    assert project.metrics("convert")["F16"]["top1_agreement"] == 1
    shown = project.run(sys.executable, "-m", "ollamake", "data", "show", "--pack", "1").stdout
    assert "conversations that do not see each other" in shown
    assert "<|im_end|>⟧" in shown
