"""What stages are predicted to cost, from what is known of the model, the data and past runs."""

import json
import shutil
from dataclasses import replace
from functools import partial
from hashlib import md5

import pytest

from ollamake import params
from ollamake.files import read_json
from ollamake.plan.advice import cautions, room_bytes
from ollamake.plan.calibration import Current, Scale, scale_of
from ollamake.plan.disk import Room
from ollamake.plan.forecast import Forecast, Forecaster, predict
from ollamake.plan.graph import Step
from ollamake.plan.machine import Machine, this_machine
from ollamake.plan.runs import Runs
from ollamake.plan.seconds import of_rows
from ollamake.plan.shape import read_shape, shape_of
from ollamake.plan.tokens import count_tokens
from ollamake.plan.work import training
from tests.conftest import REPOSITORY
from tests.tiny import FEED_FORWARD, HEADS, HIDDEN, KEY_VALUE_HEADS, LAYERS

CONTENT = dict(params.read(REPOSITORY / "params.yaml"))
LAPTOP = Machine("", 16_000_000_000, 12_000_000_000, bf16=True)
SPLIT = {"rows": 90, "tokens": 4500, "supervised_tokens": 900, "length_p95": 70, "length_max": 90}
TOKENIZED = {name: {**SPLIT, "dropped": {"too long": 10}} for name in ("train", "val", "test")}
PREPARED = {"rows": 400, "sources": {"one": {}}, "kept": {"train": 200, "val": 100, "test": 100}}


def nothing(_stage):
    return None


def counted(**changes):
    return count_tokens({"tokenize": TOKENIZED}.get, nothing, CONTENT | changes, 0)


@pytest.fixture
def tiny(tiny_base):
    return read_shape("tiny", tiny_base)


def test_a_model_is_measured_by_the_headers_of_its_files(tiny, tiny_base):
    narrow = HIDDEN // HEADS * KEY_VALUE_HEADS
    assert tiny.stored_bytes == (tiny_base / "model.safetensors").stat().st_size
    assert tiny.parameters * 4 == pytest.approx(tiny.stored_bytes, rel=0.01)
    assert tiny.body == LAYERS * (2 * HIDDEN * (HIDDEN + narrow) + 3 * HIDDEN * FEED_FORWARD + 2 * HIDDEN) + HIDDEN
    assert tiny.adapter(4, "q_proj v_proj") == 4 * LAYERS * (HIDDEN + HIDDEN + HIDDEN + narrow)
    every = 2 * HIDDEN + 2 * HIDDEN + 2 * (HIDDEN + narrow) + 3 * (HIDDEN + FEED_FORWARD)
    assert tiny.adapter(1, "all-linear") == LAYERS * every


def test_a_model_that_is_not_here_is_known_from_its_card(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    shape = shape_of("qwen2.5:7b", fetched=False)
    assert (shape.parameters, shape.hidden, shape.layers) == (7_615_616_512, 3584, 28)
    assert shape.adapter(16, "q_proj") == 16 * 28 * (3584 + 3584)


def test_of_a_model_that_nobody_knows_nothing_is_predicted(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert shape_of("somebody/something", fetched=False) is None
    forecast = Forecaster(LAPTOP, CONTENT, None, counted(), 10).of("train")
    assert (forecast.seconds, forecast.memory_bytes, forecast.basis) == (None, None, "size of the base model unknown")


def test_tokens_are_those_that_tokenize_has_counted():
    tokens = counted()
    assert (tokens.train.tokens, tokens.train.supervised, tokens.counted) == (4500, 900, True)


def test_where_tokenize_has_to_run_again_its_last_run_is_scaled_and_called_an_estimate():
    tokens = count_tokens({"prepare": PREPARED}.get, {"tokenize": TOKENIZED}.get, CONTENT, 0)
    assert (tokens.train.rows, tokens.train.tokens, tokens.counted) == (180, 9000, False)
    assert tokens.basis == "estimated from the last build"


def test_rows_that_max_examples_leaves_out_are_not_counted():
    tokens = count_tokens(nothing, {"tokenize": TOKENIZED, "prepare": PREPARED}.get, CONTENT | {"max_examples": 100}, 0)
    assert tokens.train.rows == 45


def test_where_tokenize_never_ran_the_size_of_the_rows_is_a_guess():
    tokens = count_tokens({"prepare": PREPARED}.get, nothing, CONTENT, 200 * 300)
    assert tokens.train.rows == 200
    assert 40 < tokens.train.mean < 120
    assert tokens.basis == "guessed from the size of the data"


def test_without_any_data_nothing_is_guessed():
    assert count_tokens(nothing, nothing, CONTENT, 0) is None
    assert Forecaster(LAPTOP, CONTENT, None, None, None).of("tokenize").seconds is None


def test_steps_are_those_that_the_default_build_took(tiny):
    told = read_json(REPOSITORY / "metrics/train.json")
    tokens = count_tokens({"tokenize": read_json(REPOSITORY / "metrics/tokenize.json")}.get, nothing, CONTENT, 0)
    work = training(CONTENT, tiny, tokens, bf16=True)
    assert (work.steps, work.tokens) == (told["steps"], told["tokens"])


@pytest.mark.parametrize(
    ("changes", "steps", "tokens"),
    [
        ({"num_epochs": 1}, 12, 4500),  # 90 rows in batches of 8
        ({"num_epochs": 1, "gradient_accumulation_steps": 5}, 3, 4500),
        ({"max_steps": 6}, 6, 2250),
        ({"debug": True}, 10, 3750),
        ({"num_epochs": 1, "task": "dpo"}, 12, 9000),
        ({"num_epochs": 1, "packing": True, "max_length": 100}, 6, 4500),  # 48 packed rows
    ],
)
def test_steps_and_tokens_follow_the_parameters(tiny, changes, steps, tokens):
    work = training(CONTENT | changes, tiny, counted(**changes), bf16=True)
    assert (work.steps, round(work.tokens)) == (steps, tokens)


def large(tiny):
    """A model of 7 billion weights, whose numbers are known."""
    weights = {"parameters": 7_000_000_000, "body": 6_500_000_000, "vocabulary": 128_000}
    return replace(tiny, **weights, hidden=4096, intermediate=11008, layers=32)


def advised(stage, machine, content, shape, free=10**15):
    forecaster = Forecaster(machine, content, shape, counted(**content), 100)
    costs = {stage: forecaster.of(stage)}
    return costs[stage], cautions([Step(stage, "runs")], costs, forecaster, free)


def test_what_fits_is_not_warned_of(tiny):
    assert advised("train", LAPTOP, CONTENT, tiny)[1] == []


def test_a_training_beyond_the_memory_is_warned_of_with_the_mildest_change_that_fits(tiny):
    content = CONTENT | {"per_device_batch_size": 64, "gradient_accumulation_steps": 1}
    cost, [caution] = advised("train", replace(LAPTOP, memory_bytes=40_000_000_000), content, large(tiny))
    assert cost.memory_bytes > 40e9
    assert caution.problem.startswith("train needs about")
    assert caution.hint == "`-S per_device_batch_size=16 -S gradient_accumulation_steps=4` needs about 25.1 GB"
    assert not caution.certain


def test_where_no_batch_is_small_enough_a_quantized_base_model_is_named(tiny):
    _, [caution] = advised("train", Machine("T4", 12_000_000_000, 12_000_000_000, bf16=False), CONTENT, large(tiny))
    assert "-S method=qlora" in caution.hint


def test_a_model_that_cannot_fit_at_all_is_certain(tiny):
    _, [caution] = advised("evaluate", LAPTOP, CONTENT, large(tiny))
    assert caution.certain
    assert "smaller base_model" in caution.hint


def test_memory_that_others_hold_is_told_apart(tiny):
    machine = replace(LAPTOP, free_bytes=100_000_000)
    _, [caution] = advised("train", machine, CONTENT, tiny)
    assert "0.1 GB of this machine's are free now" in caution.problem
    assert not caution.certain


def test_a_full_disk_is_told_before_it_is_full(tiny):
    cost, [caution] = advised("convert", LAPTOP, CONTENT, tiny, free=1_000_000)
    assert room_bytes({"convert": cost}) > 1_000_000
    assert caution.certain
    assert "most of it for convert" in caution.problem


def test_room_is_what_all_keep_and_the_most_that_one_needs_besides():
    rooms = {"train": Forecast(room=Room(10, 50)), "convert": Forecast(room=Room(5, 30))}
    assert room_bytes(rooms) == 65


def test_an_input_that_is_not_there_is_certain(tiny):
    forecaster = Forecaster(LAPTOP, CONTENT, tiny, counted(), 10)
    [caution] = cautions([Step("prepare", "runs", (), ("raw.txt",))], {}, forecaster, 10**15)
    assert (caution.problem, caution.certain) == ("prepare cannot run without raw.txt", True)


def test_a_stage_that_asks_a_server_takes_as_long_as_that_answers(tiny):
    forecaster = Forecaster(LAPTOP, CONTENT | {"teacher": "qwen2.5:7b"}, tiny, counted(), 10)
    assert forecaster.of("distill").seconds is None
    assert forecaster.of("distill").basis == "as fast as qwen2.5:7b answers"
    assert forecaster.of("judge").seconds > 0


def test_what_a_gpu_holds_is_without_the_machine_code_of_the_cpu(tiny):
    on_gpu = Forecaster(Machine("H200", 10**12, 10**12, bf16=True), CONTENT, tiny, counted(), 10).of("train")
    assert on_gpu.parts["kernels"] == 0


def test_this_machine_has_memory():
    machine = this_machine()
    assert 0 < machine.free_bytes <= machine.memory_bytes


# Past runs, as DVC's run cache keeps them.


class Cache:
    """DVC's cache, written by hand."""

    def __init__(self, folder):
        self.folder, self.runs = folder, 0

    def add(self, content):
        text = json.dumps(content)
        digest = md5(text.encode(), usedforsecurity=False).hexdigest()
        path = self.folder / "files/md5" / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return digest

    def ran(self, stage, metrics, deps, outs, **values):
        entry = {"deps": paths(deps), "params": {"params.yaml": values}}
        entry["outs"] = paths({f"metrics/{stage}.json": self.add(metrics), **outs})
        lines = [f"cmd: python -m stages.{stage}", *(f"{key}: {json.dumps(value)}" for key, value in entry.items())]
        path = self.folder / "runs/ab" / f"{self.runs:064}" / "entry"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
        self.runs += 1


def paths(found):
    return [{"path": path, "md5": digest, "hash": "md5"} for path, digest in found.items()]


@pytest.fixture
def cache(tmp_path, tiny_base, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    shutil.copytree(tiny_base, tmp_path / ".ollamake/base/tiny")
    made = Cache(tmp_path / "cache")
    rows = {"data/tokenized/train.arrow": "a" * 32, "data/tokenized/test.arrow": "b" * 32}
    made.ran("tokenize", TOKENIZED, {}, rows, max_length=256, packing=False)
    return made


predicted = partial(predict, LAPTOP)


def trained(cache, tiny, key, times, code="c" * 32, **changes):
    cost = predicted("train", CONTENT | changes, tiny, counted())
    metrics = {"seconds": cost.seconds * times, "peak_memory_mb": cost.memory * times / 1e6}
    deps = {"models/base.json": cache.add({"key": key, "name": "tiny"}), "data/tokenized/train.arrow": "a" * 32}
    deps["ollamake/training"] = code
    cache.ran("train", metrics, deps, {}, **changes)


def scale(cache):
    return scale_of("train", Runs(cache.folder), Current("tiny", {"ollamake/training": "c" * 32}), CONTENT, predicted)


def test_without_a_run_here_the_prediction_is_rough(cache):
    assert (scale(cache).seconds, scale(cache).memory, scale(cache).basis) == (1, 1, "rough")


def test_runs_of_this_model_correct_the_prediction_by_their_median(cache, tiny):
    for times in (1.2, 1.3, 5.0):
        trained(cache, tiny, "tiny", times, lora_rank=8)
    found = scale(cache)
    assert (found.seconds, found.memory) == (pytest.approx(1.3), pytest.approx(1.3))
    assert found.basis == "3 runs here"


def test_a_run_with_other_parameters_is_compared_with_what_they_would_have_cost(cache, tiny):
    trained(cache, tiny, "tiny", 1.5, lora_rank=64, per_device_batch_size=2, num_epochs=7)
    assert scale(cache).seconds == pytest.approx(1.5)


def test_runs_of_another_model_correct_it_where_there_are_none_of_this_one(cache, tiny):
    shutil.copytree(".ollamake/base/tiny", ".ollamake/base/other")
    trained(cache, tiny, "other", 2.0)
    assert scale(cache).basis == "1 run of other models"
    trained(cache, tiny, "tiny", 1.1)
    assert (scale(cache).seconds, scale(cache).basis) == (pytest.approx(1.1), "1 run here")


def test_runs_of_older_code_tell_how_fast_the_machine_is_but_not_what_the_code_holds(cache, tiny):
    trained(cache, tiny, "tiny", 2.0, code="d" * 32)
    found = scale(cache)
    assert (found.seconds, found.memory) == (pytest.approx(2.0), 1.0)
    assert found.basis == "time 1 run of older code, memory rough"
    trained(cache, tiny, "tiny", 1.1)
    assert (scale(cache).memory, scale(cache).basis) == (pytest.approx(1.1), "1 run here")


def test_runs_whose_model_or_rows_are_unknown_are_left_out(cache, tiny):
    trained(cache, tiny, "gone", 2.0)
    cache.ran("train", {"seconds": 1, "peak_memory_mb": 1}, {}, {})
    (cache.folder / "runs/ab/cd").mkdir()
    (cache.folder / "runs/ab/cd/damaged").write_text("cmd: python -m stages.train\n[")
    assert scale(cache).basis == "rough"


def test_a_correction_reaches_the_forecast(tiny):
    plain = Forecaster(LAPTOP, CONTENT, tiny, counted(), 10)
    twice = replace(plain, scales={"train": Scale(2.0, 1.5, "3 runs here")})
    assert twice.of("train").memory_bytes == pytest.approx(1.5 * plain.of("train").memory_bytes)
    start = plain.of("train").seconds * 2 - twice.of("train").seconds
    assert start == pytest.approx(8.5)  # Python starts as fast as before
    assert twice.of("train").basis == "3 runs here"


def test_rows_take_their_time():
    assert sum(of_rows("tokenize", 100_000).values()) > sum(of_rows("tokenize", 100).values())
