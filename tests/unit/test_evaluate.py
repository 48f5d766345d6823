"""The stages baseline and evaluate on a tiny random model, one after the other, in a workspace of their own."""

import json
import sys

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer

from ollamake.chat import ChatTemplate
from ollamake.errors import DataError
from ollamake.files import read_json, read_jsonl, sha256, write_json
from stages import baseline, evaluate
from tests.arrow import write_tokens

OWN = "metrics_own/evaluate_stage_example.py"
PARAMS = {
    "eval_batch_size": 4,
    "eval_max_examples": 5,
    "eval_max_new_tokens": 6,
    "eval_metric": OWN,
    "precision": "fp32",
}
SCORES = [
    "loss", "perplexity", "bits_per_byte", "rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "exact_match",
    "first_word_accuracy", "stopped_fraction", "mean_new_tokens", "length_ratio",
]  # fmt: skip
METRIC = """
import datasets
import evaluate

class Mine(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"letters": [len(text) for text in predictions], "kinds": len(set(predictions)) / 3}
"""


@pytest.fixture(scope="module")
def workspace(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    write_json(
        folder / "models/base.json",
        {"name": "tiny", "key": "tiny", "files": {"config.json": sha256(tiny_base / "config.json")}},
    )
    (folder / ".ollamake/base").mkdir(parents=True)
    (folder / ".ollamake/base/tiny").symlink_to(tiny_base)
    write_test_set(folder, tiny_base)
    write_adapter(folder / "models/tuned", tiny_base)
    (folder / OWN).parent.mkdir()
    (folder / OWN).write_text(METRIC)
    return folder


def write_test_set(folder, tiny_base):
    tokenizer = Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    template, rows = ChatTemplate.of(tiny_base), []
    for number in range(8):
        question = {"role": "user", "content": f"Wish {number}" + " please" * number}
        text = template.render([question], add_generation_prompt=True)
        prompt = tokenizer.encode(text, add_special_tokens=False).ids
        answer = tokenizer.encode(f"ls {number}<|im_end|>", add_special_tokens=False).ids
        rows.append(
            {
                "id": f"{number:016x}",
                "input_ids": prompt + answer,
                "labels": [-100] * len(prompt) + answer,
                "prompt_length": len(prompt),
                "prompt": question["content"],
                "reference": f"ls {number}",
                "task": ("odd", "even", "")[number % 3],
            }
        )
    write_tokens(folder / evaluate.TEST, rows)


def write_adapter(folder, tiny_base):
    import torch
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model.add_adapter(lora)
    lora.save_pretrained(folder)
    prefixed = {f"base_model.model.{key}": value for key, value in get_peft_model_state_dict(model).items()}
    save_file(prefixed, folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def scored(workspace):
    """The workspace after both stages, and what they printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.delenv("DVC_ROOT", raising=False)
        patch.syspath_prepend(str(workspace))
        baseline.main(baseline.Params(**PARAMS))
        evaluate.main(evaluate.Params(**PARAMS, eval_samples=3))
    return workspace


@pytest.fixture(autouse=True)
def at_work(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.syspath_prepend(str(workspace))


@pytest.mark.parametrize("model", ["baseline", "evaluated"])
def test_the_items_are_those_with_the_lowest_ids(scored, model):
    rows = read_jsonl(scored / f"models/{model}/items.jsonl")
    assert [row["id"] for row in rows] == [f"{number:016x}" for number in range(5)]
    assert [row["task"] for row in rows] == ["odd", "even", None, "odd", "even"]
    assert all(len(row["prediction"]) > 0 and row["stopped"] is False and row["nats"] > 0 for row in rows)
    assert [row["bytes"] for row in rows] == [4] * 5
    assert [row["scores"]["evaluate_stage_example_letters"] for row in rows] == [len(row["prediction"]) for row in rows]


@pytest.mark.parametrize("model", ["baseline", "evaluated"])
def test_the_scores_have_intervals_tasks_and_versions(scored, model):
    found = read_json(scored / f"models/{model}/scores.json")
    assert list(found) == ["items", "scores", "intervals", "tasks", "versions"]
    own = [f"evaluate_stage_example_{name}" for name in ("letters", "kinds")]
    assert list(found["scores"]) == [*SCORES, *own]
    assert list(found["intervals"]) == [*SCORES, own[0]]
    assert all(low <= found["scores"][name] <= high for name, (low, high) in found["intervals"].items())
    assert {task: each["items"] for task, each in found["tasks"].items()} == {"even": 2, "odd": 2}
    assert set(SCORES[:10]) <= set(found["versions"])
    assert OWN in found["versions"]["eval_metric"]


@pytest.mark.parametrize(("stage", "model"), [("baseline", "baseline"), ("evaluate", "evaluated")])
def test_the_metrics_are_the_scores_and_what_they_cost(scored, stage, model):
    metrics, found = read_json(scored / f"metrics/{stage}.json"), read_json(scored / f"models/{model}/scores.json")
    assert {name: metrics[name] for name in found["scores"]} == found["scores"]
    assert list(metrics)[len(found["scores"]) :] == ["items", "intervals", "tasks", "seconds", "peak_memory_mb"]
    assert metrics["tasks"]["odd"] == found["tasks"]["odd"]["scores"]
    assert metrics["items"] == 5
    assert metrics["peak_memory_mb"] > 100


def test_both_models_stand_side_by_side(scored):
    base, tuned = (read_json(scored / f"models/{model}/scores.json") for model in ("baseline", "evaluated"))
    assert base["scores"]["loss"] != tuned["scores"]["loss"]
    page = (scored / "models/samples.md").read_text()
    assert page.count("\n## ") == 3
    assert "3 of the 5 scored" in page
    assert "reference  ls 2\n" in page


def test_the_chart_of_lengths_has_every_item_of_both_models(scored):
    header, *lines = (scored / "plots/evaluate/lengths.csv").read_text().splitlines()
    assert header == "reference_tokens,model,score,low,high,items"
    for model in ("base", "tuned"):
        assert sum(int(line.split(",")[-1]) for line in lines if line.split(",")[1] == model) == 5


def test_the_same_inputs_give_the_same_bytes(scored, capsys):
    names = ["items.jsonl", "scores.json"]
    outputs = [f"models/{model}/{name}" for model in ("baseline", "evaluated") for name in names]
    outputs += ["models/samples.md", "plots/evaluate/lengths.csv"]
    before = [(scored / name).read_bytes() for name in outputs]
    baseline.main(baseline.Params(**PARAMS))
    evaluate.main(evaluate.Params(**PARAMS, eval_samples=3))
    assert [(scored / name).read_bytes() for name in outputs] == before
    printed = capsys.readouterr()
    assert "tuned: loss" in printed.out
    assert printed.out.endswith("answers side by side: models/samples.md\n")
    assert printed.err == ""


def test_a_baseline_of_other_items_is_refused_before_torch_loads(scored, monkeypatch):
    for name in ("ollamake.scoring.tuned", "ollamake.scoring.score"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match="3 of the 8 to compare"):
        evaluate.main(evaluate.Params(**{**PARAMS, "eval_max_examples": 0}, eval_samples=3))


@pytest.mark.parametrize("stage", [baseline, evaluate])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eval_batch_size", 0),
        ("eval_max_examples", -1),
        ("eval_max_new_tokens", 4.5),
        ("eval_metric", "elsewhere.py"),
        ("precision", "fp16"),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused(stage, key, value):
    params = {**PARAMS, "eval_samples": 3} if stage is evaluate else PARAMS
    stage.Params(**params)
    with pytest.raises(ValidationError, match=key):
        stage.Params(**{**params, key: value})


def test_the_stages_read_nothing_that_json_cannot_hold(scored):
    for name in ("baseline", "evaluate"):
        json.loads((scored / f"metrics/{name}.json").read_text(), parse_constant=pytest.fail)
