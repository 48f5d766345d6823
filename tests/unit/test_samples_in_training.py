"""The answers that show what a model learns: which, how they are made, and how they are shown."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ollamake.training.samples import Greedy, Prompt, choose, page
from stages import train
from tests.arrow import write_tokens
from tests.watched import run, write_rows


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_rows()
    return tmp_path


@pytest.fixture(scope="module")
def model(narrow_base):
    return AutoModelForCausalLM.from_pretrained(narrow_base)


@pytest.fixture(scope="module")
def tokenizer(narrow_base):
    return AutoTokenizer.from_pretrained(narrow_base)


def prompt(ids, reference="ls -l"):
    return Prompt("0f", ids, "list the files", reference)


def said(step, *answers):
    return {"step": step, "eval_loss": 1.0, "samples": list(answers)}


def test_the_prompts_are_those_of_the_lowest_ids_wherever_they_stand(tmp_path):
    rows = [
        {"id": name, "input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "prompt_length": 2, "prompt": name}
        for name in ("0c", "ff", "0a", "0b")
    ]
    path = write_tokens(tmp_path / "val.arrow", rows)
    chosen = choose(path, 2)
    assert [one.id for one in chosen] == ["0a", "0b"]
    assert chosen[0] == Prompt("0a", [1, 2], "0a", "")
    assert choose(write_tokens(path, rows[::-1]), 2) == chosen
    assert len(choose(path, 9)) == 4


def test_answers_are_greedy_whoever_else_is_asked(model, tokenizer):
    prompts = [prompt([100, 131, 162]), prompt([7, 5, 300, 41, 200, 90])]
    greedy = Greedy(frozenset([2]), 5)
    together = greedy.answers(model, tokenizer, prompts)
    assert together == [greedy.answers(model, tokenizer, [one])[0] for one in prompts]
    ids = list(prompts[0].ids)
    for _ in range(5):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert together[0] == tokenizer.decode(ids[3:]) + " ✂"


def test_an_answer_stops_at_an_end_token_and_only_then_counts_as_whole(model, tokenizer):
    first = int(model(torch.tensor([[100, 131, 162]])).logits[0, -1].argmax())
    assert Greedy(frozenset([first]), 5).answers(model, tokenizer, [prompt([100, 131, 162])]) == [""]


def test_answering_leaves_the_model_and_the_random_generators_as_they_were(model, tokenizer):
    model.train()
    model.generation_config.repetition_penalty = 7.0
    before, generators = model.generation_config, torch.get_rng_state()
    plain = Greedy(frozenset([2]), 5).answers(model, tokenizer, [prompt([100, 131, 162])])
    assert model.training
    assert model.generation_config is before
    assert torch.equal(torch.get_rng_state(), generators)
    model.generation_config.repetition_penalty = 1.0
    assert Greedy(frozenset([2]), 5).answers(model, tokenizer, [prompt([100, 131, 162])]) == plain
    assert all(parameter.grad is None for parameter in model.parameters())


def test_answers_that_stay_the_same_share_a_line():
    text = page([prompt([1])], [said(2, "cat ✂"), said(4, "ls"), said(6, "ls"), said(8, "ls  -l")], 8)
    assert "step 2        cat ✂\nstep 4-6      ls\nstep 8 ✓      ls  -l\n" in text
    assert "`val_samples_max_new_tokens: 8`" in text


def test_no_answer_breaks_out_of_its_block_or_writes_to_the_terminal():
    text = page([prompt([1])], [said(2, "```\x1b[31m\n\nred " + "word " * 30)], 8)
    assert "\x1b" not in text
    assert "````text" in text
    assert all(len(line) < 120 for line in text.splitlines())


@pytest.mark.slow
def test_every_validation_adds_an_answer_and_changes_nothing_of_the_training(workspace, narrow_base):
    options = {"lora_dropout": 0.1, "val_every_steps": 3, "neftune_noise_alpha": 5.0}
    run(narrow_base, **options)
    silent = (train.TUNED / "adapter_model.safetensors").read_bytes()
    assert not (train.CHECKPOINTS / "samples.md").exists()
    (workspace / "held").rename(workspace / "old")
    run(narrow_base, val_samples=2, val_samples_max_new_tokens=4, **options)
    assert (train.TUNED / "adapter_model.safetensors").read_bytes() == silent
    text = (train.CHECKPOINTS / "samples.md").read_text()
    assert text.count("step 3") == 2
    assert "question 0" in text
    assert "question 2" not in text
    journals = "".join(journal.read_text() for journal in (workspace / "logs").iterdir())  # the first has no answers
    assert journals.count("(reference 'answer 1')") == len(
        json.loads((train.CHECKPOINTS / "index.json").read_text())["validations"]
    )
