import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks import models
from benchmarks.flops import data_sheet_flops, training_flops
from benchmarks.launch import LaunchError, launch
from benchmarks.peers.settings import TEMPLATE
from benchmarks.steps import Rows, Seen, Step, read_steps, steady
from benchmarks.train import COMPARED, own_count, per_processor_second, ratios
from benchmarks.workspace import ROOT

PAD = 2
# The second begins as the first does; the last token of each carries no loss.
ROWS = [([1, 5, 6, PAD, 9], [-100, -100, 6, PAD, -100]), ([1, 5, 6, PAD, 7, PAD, 9], [-100] * 4 + [7, PAD, -100])]


@pytest.fixture
def rows():
    return Rows(ROWS)


def test_rows_count_up_to_their_last_supervised_token(rows):
    assert (rows.tokens, rows.supervised, rows.squares) == (4 + 6, 4, 16 + 36)


def test_a_label_on_the_first_token_counts_for_nothing():
    assert Rows([([1, 5], [1, 5])]).supervised == 1


@pytest.mark.parametrize(
    ("line", "tokens", "supervised"),
    [
        ([1, 5, 6, PAD, 9], 4, 2),  # whole
        ([1, 5, 6, PAD], 4, 2),  # as peers make it, without what follows the answer
        ([1, 5, 6, PAD, PAD, PAD, PAD], 4, 2),  # padded with what ends a row
        ([PAD, PAD, 1, 5, 6, PAD, 7, PAD], 6, 2),  # padded before; the longer row, though the shorter fits too
        ([1, 5, 6, PAD, 9, 1, 5, 6, PAD, 7, PAD, 9, 0, 0], 10, 4),  # packed
        ([1, 5, 7, PAD], 0, 0),  # another row
    ],
)
def test_a_line_of_a_batch_is_told_by_its_ids(rows, line, tokens, supervised):
    assert rows.find(line) == Seen(len(line), tokens, supervised)


def test_batches_and_evaluations_belong_to_the_step_that_ends_next(rows, tmp_path):
    first, second = ([row[0]] for row in ROWS)
    events = [
        {"kind": "batch", "ids": first},
        {"kind": "batch", "ids": second},
        {"kind": "step", "time": 1.0, "processor": 2.0},
        {"kind": "evaluation"},
        {"kind": "batch", "ids": first},
        {"kind": "step", "time": 3.0, "processor": 5.0, "device_bytes": 7},
        {"kind": "evaluation"},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    assert read_steps(path, rows) == [
        Step(1.0, Seen(12, 10, 4), processor=2.0),
        Step(3.0, Seen(5, 4, 2), True, 7, 5.0),
    ]


def test_speed_is_what_lies_between_the_ends_of_steps():
    ends = [(10.0, 100), (12.0, 20), (14.0, 40)]
    steps = [Step(end, Seen(2 * tokens, tokens, tokens // 2), processor=1.5 * end) for end, tokens in ends]
    rate = steady(steps)
    assert (rate.processor_seconds, per_processor_second(rate)) == (6.0, 5.0)
    assert (rate.positions, rate.tokens, rate.supervised, rate.seconds) == (30.0, 15.0, 7.5, 4.0)
    assert steady(steps, 2).tokens == 20.0


def test_a_step_after_an_evaluation_does_not_count():
    steps = [Step(0.0), Step(1.0, Seen(8, 8, 8)), Step(99.0, Seen(8, 8, 8), evaluated=True), Step(100.0, Seen(8, 8, 8))]
    assert steady(steps).tokens == 8.0


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="1 steps are too few"):
        steady([Step(1.0)])


def test_ratios_are_ours_over_each_peer():
    sides = {"ours": dict.fromkeys(COMPARED, 6.0), "trl": dict.fromkeys(COMPARED, 3.0)}
    assert ratios(sides) == {"trl": dict.fromkeys(COMPARED, 2.0)}
    assert ratios({"trl": sides["trl"]}) == {}


def test_a_peers_own_count_is_read_behind_its_progress_bar():
    assert own_count("100%|████| 10/10 [00:23<00:00]supervised tokens 863\n***** train metrics *****") == 863
    assert own_count("nothing") == -1


def test_flops_are_four_a_weight_and_token_with_a_frozen_base_and_six_without():
    config = models.model_config("8B")
    output = config["vocab_size"] * config["hidden_size"]
    counts = {"tokens": 10, "supervised": 10, "squares": 0}
    weights = 8_030_261_248 - output - 65 * config["hidden_size"]  # Llama 3.1 8B, less its table and norms
    adapters = 41_943_040  # of rank 16 on all linear layers, as PEFT counts them
    assert training_flops(config, **counts, lora_rank=0) == 6 * weights * 10
    assert training_flops(config, **counts, lora_rank=16) == 10 * (4 * weights + 6 * adapters)


def test_flops_of_attention_grow_with_the_square_of_a_row_and_are_halved():
    config = models.model_config("tiny")
    alone = training_flops(config, tokens=0, supervised=0, squares=8**2, lora_rank=16)
    assert alone == 2 * 64 * 12 * 8**2 // 2


def test_the_output_matrix_counts_where_a_token_carries_loss():
    config = models.model_config("tiny")
    counted = [training_flops(config, tokens=8, supervised=count, squares=0, lora_rank=16) for count in (2, 3)]
    assert counted[1] - counted[0] == 4 * 64 * 512


def test_the_longest_name_of_a_card_wins():
    assert data_sheet_flops("NVIDIA H100 PCIe") == 756e12
    assert data_sheet_flops("NVIDIA H100 80GB HBM3") == data_sheet_flops("NVIDIA H200") == 989e12
    assert data_sheet_flops("NVIDIA L40S") == 362e12
    assert data_sheet_flops("cpu") is None


def test_made_up_rows_have_the_mean_and_the_share_that_was_asked_for():
    rows = models.made_up_rows(2000, 512, mean=100, longest=1000, supervised=0.25)
    lengths = [len(ids) for ids, _ in rows]
    found = Rows(rows)
    assert 95 < sum(lengths) / len(lengths) < 105
    assert max(lengths) <= 1000
    assert 0.24 < found.supervised / found.tokens < 0.26
    assert all(len(ids) == len(labels) for ids, labels in rows)


def test_the_peers_template_ends_where_the_answer_ends():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # As transformers renders chat templates.
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    asked, answered = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    prompt = template.render(messages=[asked], add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    assert template.render(messages=[asked, answered]) == prompt + "a<|im_end|>"


def test_a_failed_command_says_what_it_said(tmp_path):
    with pytest.raises(LaunchError, match=r"exited with 3:\nwhy"):
        launch([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path)


def test_a_benchmark_that_is_told_to_end_leaves_no_process(tmp_path):
    pid = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(600)"
    command = f"launch([sys.executable, '-c', {child!r}], pathlib.Path())"
    code = f"import pathlib, sys; from benchmarks.launch import *; end_when_told(); {command}"
    benchmark = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    for _ in range(2000):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.05)
    os.kill(benchmark.pid, signal.SIGTERM)
    assert benchmark.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int(pid.read_text()))


def test_the_clock_writes_batches_evaluations_and_steps(tmp_path):
    (tmp_path / "trained.py").write_text(
        "import time, torch\n"
        "time.sleep(0.5)\n"
        "table = torch.nn.Embedding(9, 2)\n"
        "optimizer = torch.optim.AdamW(table.parameters())\n"
        "with torch.no_grad(): table(torch.tensor([[1]]))\n"
        "table(torch.tensor([[3, 4]])).sum().backward()\n"
        "optimizer.step()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    launch([sys.executable, "-m", "benchmarks.peers.clock", "events.jsonl", "trained"], tmp_path, environment)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events] == ["evaluation", "batch", "step"]
    assert events[1]["ids"] == [[3, 4]]
    assert 0 < events[2]["time"] < time.monotonic()
