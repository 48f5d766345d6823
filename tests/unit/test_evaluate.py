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

PARAMS = {"eval_batch_size": 4, "eval_max_examples": 5, "eval_max_new_tokens": 6, "precision": "fp32"}


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
        baseline.main(baseline.Params(**PARAMS))
        evaluate.main(evaluate.Params(**PARAMS, eval_samples=3))
    return workspace


@pytest.fixture(autouse=True)
def at_work(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def test_the_baseline_answers_the_items_with_the_lowest_ids(scored):
    rows = read_jsonl(scored / "models/baseline/predictions.jsonl")
    assert [row["id"] for row in rows] == [f"{number:016x}" for number in range(5)]
    assert [set(row) for row in rows] == [{"id", "prediction", "stopped"}] * 5
    assert all(len(row["prediction"]) > 0 and row["stopped"] is False for row in rows)


def test_the_metrics_are_those_of_the_contract(scored):
    metrics = read_json(scored / "metrics/baseline.json")
    assert list(metrics) == [
        "loss", "perplexity", "rouge_l", "bleu", "chrf", "exact_match", "first_word_accuracy", "items",
        "mean_new_tokens", "stopped_fraction", "seconds", "peak_memory_mb",
    ]  # fmt: skip
    assert metrics["items"] == 5
    assert metrics["peak_memory_mb"] > 100


def test_both_models_stand_side_by_side(scored):
    scores, metrics = read_json(scored / "metrics/evaluate.json"), read_json(scored / "metrics/baseline.json")
    assert set(scores) == {"base", "tuned", "gain", "seconds", "peak_memory_mb"}
    assert scores["base"] == {key: metrics[key] for key in scores["tuned"]}
    assert scores["gain"]["loss"] == round(scores["tuned"]["loss"] - scores["base"]["loss"], 6) != 0
    page = (scored / "models/samples.md").read_text()
    assert page.count("\n## ") == 3
    assert "3 of the 5 scored" in page
    assert "reference  ls 2\n" in page
    assert (scored / "plots/evaluate/scores.csv").read_text().count("\n") == 13


def test_the_same_inputs_give_the_same_bytes(scored):
    outputs = ["models/baseline/predictions.jsonl", "models/samples.md", "plots/evaluate/scores.csv"]
    before = [(scored / name).read_bytes() for name in outputs]
    baseline.main(baseline.Params(**PARAMS))
    evaluate.main(evaluate.Params(**PARAMS, eval_samples=3))
    assert [(scored / name).read_bytes() for name in outputs] == before


def test_a_person_sees_the_table(scored, capsys):
    evaluate.main(evaluate.Params(**PARAMS, eval_samples=3))
    printed = capsys.readouterr()
    assert printed.out.startswith("5 test conversations")
    assert printed.out.endswith("answers side by side: models/samples.md\n")
    assert printed.err == ""


def test_a_baseline_of_other_items_is_refused_before_torch_loads(scored, monkeypatch):
    for name in ("ollamake.scoring.tuned", "ollamake.scoring.score"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match="3 of the 8 not at all"):
        evaluate.main(evaluate.Params(**{**PARAMS, "eval_max_examples": 0}, eval_samples=3))


@pytest.mark.parametrize("stage", [baseline, evaluate])
@pytest.mark.parametrize(
    ("key", "value"),
    [("eval_batch_size", 0), ("eval_max_examples", -1), ("eval_max_new_tokens", 4.5), ("precision", "fp16")],
)
def test_a_parameter_of_the_wrong_kind_is_refused(stage, key, value):
    params = {**PARAMS, "eval_samples": 3} if stage is evaluate else PARAMS
    stage.Params(**params)
    with pytest.raises(ValidationError, match=key):
        stage.Params(**{**params, key: value})


def test_the_stages_read_nothing_that_json_cannot_hold(scored):
    for name in ("baseline", "evaluate"):
        json.loads((scored / f"metrics/{name}.json").read_text(), parse_constant=pytest.fail)
