import json
import re

import pytest

from ollamake import summary
from ollamake.errors import OllamakeError
from ollamake.scoring.names import MEASURES

SCORES = dict.fromkeys(MEASURES, 0.25)
GATE = {
    "passed": True,
    "metric": "rouge_l",
    "items": 3,
    "base": SCORES,
    "tuned": SCORES,
    "gain": SCORES,
    "intervals": {"gain": {name: [-0.1, 0.6] for name in MEASURES}},
}
FILE = {
    "size_bytes": 1_500_000,
    "top1_agreement": 1.0,
    "tokens": 7,
    "exact_sequences": 2,
    "prompts": 2,
    "mean_abs_dlogprob": 0.001,
    "checks": {"stops": 2, "weights": 1},
}
TRAINING = {
    "best_val_loss": 1.7523,
    "best_step": 120,
    "overfitting": {"gap": 0.25, "trend": 0.1, "verdict": "since step 120"},
    "steps": 240,
    "seconds": 1255.2,
    "tokens_per_second": 345.1,
    "peak_memory_mb": 1233.4,
}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write("metrics/gate.json", json.dumps(GATE))
    write("metrics/train.json", json.dumps(TRAINING))
    write("metrics/convert.json", json.dumps({"F16": FILE, "Q8_0": FILE, "seconds": 1.0}))
    write("models/gguf/model-Q8_0.gguf", "x" * 200_000)
    receipt("not served: no Ollama server at http://127.0.0.1:11434 (connection refused)")
    return tmp_path


def write(name, text):
    path = summary.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def receipt(status, proved=None):
    write("models/export/receipt.json", json.dumps({"model": "my-model", "status": status, "proved": proved}))


def test_training_scores_parity_and_artifacts_are_on_one_screen(workspace, capsys):
    summary.show()
    text = capsys.readouterr().out
    assert "Training of 240 steps in 1,255 s" in text
    assert re.search(r"1\.752 +120 +\+0\.250 +since step 120 +345 +1,233 MB", text)
    assert "3 test conversations, gate on ROUGE-L passed" in text
    assert re.search(r"exact match, % +25\.0 +25\.0 +\+25\.0 +-10\.0 to \+60\.0", text)
    assert "Q8_0   1.5 MB   100.0% of 7        2 of 2" in text
    assert "models/gguf" in text
    assert "0.2 MB" in text
    assert "…" not in text, "a column does not fit into a terminal of 80 columns"
    assert len(text.splitlines()) < 45


def test_a_training_that_ended_early_says_so(workspace, capsys):
    write("metrics/train.json", json.dumps({**TRAINING, "stopped_early": 180}))
    summary.show()
    assert "Training of 240 steps in 1,255 s, ended early at 180" in capsys.readouterr().out


def test_a_model_that_is_not_served_comes_with_the_reason_and_the_command(workspace, capsys):
    summary.show()
    text = capsys.readouterr().out
    assert "Not served: no Ollama server at http://127.0.0.1:11434 (connection refused)" in text
    assert "dvc repro export && ollama run my-model" in text


def test_a_served_model_comes_with_the_line_to_run_it(workspace, capsys):
    receipt("served", {"server": "http://127.0.0.1:11434"})
    summary.show()
    assert capsys.readouterr().out.endswith("Try it:\n\n    ollama run my-model\n")


def test_a_closed_gate_is_said_so(workspace, capsys):
    write("metrics/gate.json", json.dumps({**GATE, "passed": False}))
    summary.show()
    assert "gate on ROUGE-L FAILED" in capsys.readouterr().out


def test_without_a_build_the_command_for_one_is_given(workspace):
    summary.Path("metrics/convert.json").unlink()
    with pytest.raises(OllamakeError, match=r"metrics/convert.json: there is no finished build\nhint: `make build`"):
        summary.show()
